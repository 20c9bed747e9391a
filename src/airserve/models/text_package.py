"""A package of a text encoder: an ONNX graph with the pooling inside, and its tokenizer."""

from __future__ import annotations

from pathlib import Path

from airserve.core.errors import BadPackageError, NotFoundError
from airserve.core.tensor import Signature, TensorSpec
from airserve.engines.options import Text
from airserve.engines.session import Session
from airserve.models.manifest import DEFAULT_MAX_BATCH, Manifest, Variant, tensor
from airserve.models.onnx_import import read_signature
from airserve.models.package import write_package
from airserve.models.steps import text_signature

WEIGHTS = "model.onnx"


def package_text(
    onnx_path: Path,
    tokenizer_path: Path,
    folder: Path,
    *,
    name: str,
    text: Text,
    max_batch: int = DEFAULT_MAX_BATCH,
    description: str = "",
    licence: str = "",
) -> Path:
    """Make a package in `folder`, after a run of the model that tells the dimensions of its embeddings.

    `tokenizer_path` becomes the package's file `text.tokenizer`. Raises `BadPackageError` with the reason if it
    cannot be.
    """
    if not tokenizer_path.is_file():
        raise NotFoundError(f"{tokenizer_path} does not exist")
    inputs, _ = read_signature(onnx_path)
    if any(spec.datatype != "INT64" or spec.shape != (-1, -1) for spec in inputs):
        raise BadPackageError(f"{onnx_path.name} does not take INT64 tensors [texts, tokens] with both axes free")
    takes, gives = text_signature(_dimensions(onnx_path, tokenizer_path, text))
    manifest = Manifest(
        name=name,
        engine="onnx",
        inputs=tuple(map(tensor, takes)),
        outputs=tuple(map(tensor, gives)),
        variants=(Variant("original", WEIGHTS, onnx_path.stat().st_size),),
        max_batch=max_batch,
        text=text,
        description=description,
        licence=licence,
    )
    return write_package(folder, manifest, {WEIGHTS: onnx_path, text.tokenizer: tokenizer_path})


def _dimensions(onnx_path: Path, tokenizer_path: Path, text: Text) -> int:
    # Only here, since packages without this step need no tokenizers.
    from airserve.engines.text import TextModel

    unknown = Signature((TensorSpec("text", "BYTES", (-1,)),), ())
    model = TextModel(Session(onnx_path, threads=1), unknown, text, tokenizer_path.read_bytes())
    try:
        return int(model.run(model.example(2))["embedding"].shape[1])
    finally:
        model.close()
