"""A folder of Hugging Face with a BERT-like encoder: strings in, one embedding each out.

The embedding is the mean of the last layer over the tokens of the text, of length 1 (Reimers and Gurevych, EMNLP 2019).
Only data is read: configuration, safetensors, tokenizer; never code.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from airserve.core.errors import BadPackageError, InvalidInputError
from airserve.engines import Source, load_model
from airserve.engines.options import Text
from airserve.models.importers.imported import Imported, Parity
from airserve.models.importers.torch_module import export_graph
from airserve.models.manifest import DEFAULT_MAX_BATCH
from airserve.models.package import open_package
from airserve.models.text_package import package_text

if TYPE_CHECKING:
    import torch

TOLERANCE = 1e-3
_ENCODERS = ("bert", "camembert", "distilbert", "electra", "mpnet", "roberta", "xlm-roberta")
# Their positions begin behind the padding token.
_SHIFTED = ("camembert", "mpnet", "roberta", "xlm-roberta")
_MAX_TOKENS = 512
_NEEDED = ("config.json", "model.safetensors", "tokenizer.json")
_SENTENCES = (
    "how do I pay my bill",
    "the cat sat on the mat",
    "a",
    "The invoice of last month has come twice, and neither of the two is what was agreed on the telephone.",
)


def import_encoder(path: Path, folder: Path, *, name: str, max_batch: int | None = None) -> Imported:
    """Export the encoder in `path` and make a package of it, with its tokenizer.

    Embeddings of whole packages, padding included, are those of PyTorch to `TOLERANCE`, or nothing is written.
    """
    config = _config(path)
    text = Text(max_tokens=_longest(path, config))
    encoder = _encoder(path)
    with TemporaryDirectory() as scratch:
        graph, made = Path(scratch) / "model.onnx", Path(scratch) / "package"
        export_graph(
            encoder,
            _example(encoder.vocabulary),
            graph,
            {"input_ids": {0: "batch", 1: "tokens"}, "attention_mask": {0: "batch", 1: "tokens"}},
            ["embedding"],
        )
        rows = DEFAULT_MAX_BATCH if max_batch is None else max_batch
        package_text(graph, path / "tokenizer.json", made, name=name, text=text, max_batch=rows)
        difference = _difference(encoder, made, text)
        if not difference <= TOLERANCE:
            raise BadPackageError(f"{path.name}: the exported graph differs from PyTorch by {difference:.2g}")
        package_text(graph, path / "tokenizer.json", folder, name=name, text=text, max_batch=rows)
    kind = f"Hugging Face {config['model_type']}"
    return Imported(kind, folder, open_package(folder).manifest, Parity(len(_SENTENCES), difference))


def _config(path: Path) -> dict[str, Any]:
    if missing := [name for name in _NEEDED if not (path / name).is_file()]:
        raise BadPackageError(f"{path} has no {', '.join(missing)}; a folder to import has {', '.join(_NEEDED)}")
    config = _json(path / "config.json")
    if "auto_map" in config:
        raise BadPackageError(f"{path.name} brings code of its own (auto_map in config.json), which is never run")
    kind = config.get("model_type")
    if kind not in _ENCODERS or config.get("is_decoder"):
        raise BadPackageError(f"{path.name} is of the kind '{kind}'; the encoders imported are {', '.join(_ENCODERS)}")
    pooling = path / "1_Pooling" / "config.json"
    asked = _json(pooling) if pooling.is_file() else {}
    if asked.get("pooling_mode", "mean") != "mean" or not asked.get("pooling_mode_mean_tokens", True):
        raise BadPackageError(f"{path.name} asks for a pooling other than the mean of its tokens; export it to ONNX")
    return config


def _json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except ValueError as error:
        raise BadPackageError(f"{path.name} is no JSON: {error}") from None
    if not isinstance(document, dict):
        raise BadPackageError(f"{path.name} is no JSON object")
    return document


def _longest(path: Path, config: dict[str, Any]) -> int:
    """The most tokens of a text: what the folder says, and at most what the positions allow."""
    positions = int(config.get("max_position_embeddings", _MAX_TOKENS))
    if config["model_type"] in _SHIFTED:
        positions -= int(config.get("pad_token_id") or 0) + 1
    wanted = path / "sentence_bert_config.json"
    said = _json(wanted).get("max_seq_length") if wanted.is_file() else None
    return min(positions, said if isinstance(said, int) and said > 0 else _MAX_TOKENS)


def _encoder(path: Path) -> Any:
    """The encoder as a PyTorch module: (input_ids, attention_mask) INT64 [n, t] → embedding FP32 [n, d]."""
    # The library asks its hub about files that it does not find, unless this is set before it is imported.
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        import torch
        import transformers
    except ImportError as error:
        raise InvalidInputError(
            f"Hugging Face models need {error.name}: pip install 'airserve[import,torch]'"
        ) from None

    class Encoder(torch.nn.Module):
        def __init__(self, inner: torch.nn.Module, vocabulary: int) -> None:
            super().__init__()
            self.inner = inner
            self.vocabulary = vocabulary

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            states = self.inner(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            mask = attention_mask.unsqueeze(-1).to(states.dtype)
            mean = (states * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
            return torch.nn.functional.normalize(mean, dim=1)

    try:
        inner, loaded = transformers.AutoModel.from_pretrained(
            path,
            output_loading_info=True,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            attn_implementation="eager",
            dtype=torch.float32,
        )
    except Exception as error:  # the library raises what the files make it raise
        raise BadPackageError(f"{path.name} cannot be loaded: {str(error).strip()[:300]}") from None
    # The library fills in what a file lacks with random numbers. The pooler is not part of the embedding.
    if missing := sorted(name for name in loaded["missing_keys"] if not name.startswith("pooler.")):
        raise BadPackageError(f"{path.name} lacks {len(missing)} of the encoder's weights, {missing[0]} among them")
    return Encoder(inner, int(inner.config.vocab_size)).eval()


def _example(vocabulary: int) -> tuple[torch.Tensor, ...]:
    import torch

    ids = torch.arange(2 * 7).reshape(2, 7) % vocabulary
    mask = torch.ones_like(ids)
    mask[1, 4:] = 0
    return ids, mask


def _difference(encoder: Any, package: Path, text: Text) -> float:
    """Between the package, which pads texts to run them together, and PyTorch on each text by itself."""
    import torch
    from tokenizers import Tokenizer

    manifest = open_package(package).manifest
    source = Source(folder=package, file=manifest.variants[0].file, signature=manifest.signature, text=text)
    model = load_model("onnx", source, threads=1)
    sentences = np.array([sentence.encode() for sentence in _SENTENCES], dtype=object)
    given = model.run({"text": sentences})["embedding"]
    model.close()
    tokenizer = Tokenizer.from_file(str(package / text.tokenizer))
    tokenizer.enable_truncation(text.max_tokens)
    tokenizer.no_padding()
    difference = 0.0
    for sentence, embedding in zip(_SENTENCES, given, strict=True):
        ids = torch.tensor([tokenizer.encode(sentence).ids])
        with torch.inference_mode():
            wanted = encoder(ids, torch.ones_like(ids))[0].numpy()
        difference = max(difference, float(np.abs(embedding - wanted).max()))
    return difference
