"""Make a package of a language model in a GGUF file. The file is read as data; nothing of it is run."""

from __future__ import annotations

from pathlib import Path

from airserve.core.errors import BadPackageError, NotFoundError
from airserve.engines.options import Language
from airserve.models.gguf_header import GgufHeader, read_header
from airserve.models.manifest import Manifest, Tensor, Variant
from airserve.models.package import write_package

FILE = "model.gguf"
DEFAULT_DEADLINE_MS = 300_000
"""A long answer takes minutes, where other models answer in milliseconds."""


def package_gguf(
    path: Path,
    folder: Path,
    *,
    name: str,
    context: int | None = None,
    slots: int | None = None,
    chat_template: str | None = None,
    default_deadline_ms: int = DEFAULT_DEADLINE_MS,
) -> Path:
    """Make a package in `folder` of the GGUF file `path`.

    `slots` generations run at once, each with `context` tokens for prompt and answer: by default those of `[language]`,
    or what the model was trained with where that is less. Raises `BadPackageError` with what is wrong with the file.
    """
    if not path.is_file():
        raise NotFoundError(f"{path} does not exist")
    header = read_header(path)
    _refuse_what_generates_nothing(header, path.name)
    trained = header.number(f"{header.architecture}.context_length")
    if context is not None and context > trained:
        raise BadPackageError(f"{path.name} was trained with a context of {trained} tokens; {context} are too many")
    default = Language()
    manifest = Manifest(
        name=name,
        engine="llama",
        inputs=(Tensor("text_input", "BYTES", (1,)),),
        outputs=(Tensor("text_output", "BYTES", (1,)),),
        variants=(Variant("gguf", FILE, path.stat().st_size),),
        default_deadline_ms=default_deadline_ms,
        description=_description(header),
        licence=header.text("general.license")[:200],
        language=Language(
            context=context or min(trained, default.context),
            slots=default.slots if slots is None else slots,
            chat_template=chat_template,
        ),
    )
    return write_package(folder, manifest, {FILE: path})


def _refuse_what_generates_nothing(header: GgufHeader, file: str) -> None:
    architecture = header.architecture
    if header.number("split.count") > 1:
        raise BadPackageError(
            f"{file} is one of {header.number('split.count')} parts; join them with llama-gguf-split --merge"
        )
    if not architecture or header.text("general.type") not in ("", "model"):
        raise BadPackageError(f"{file} holds no language model, but a part or an adapter of one")
    if not header.number(f"{architecture}.context_length") or not header.text("tokenizer.ggml.model"):
        raise BadPackageError(f"{file} has no context length or no tokenizer: it is no whole language model")
    causal = header.metadata.get(f"{architecture}.attention.causal", True)
    if not causal or header.number(f"{architecture}.pooling_type"):
        raise BadPackageError(
            f"{file} turns texts into embeddings and generates none; import such a model from its Hugging Face folder"
        )


def _description(header: GgufHeader) -> str:
    size = f"{header.parameters / 1e6:.0f} million parameters"
    return ", ".join(part for part in (header.text("general.name")[:500], header.architecture[:100], size) if part)
