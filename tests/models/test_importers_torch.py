"""A small random BERT and a small module, made here: nothing is downloaded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from airserve.core.errors import BadPackageError
from airserve.engines import Source, load_model
from airserve.models.importers import import_file
from airserve.models.importers.torch_module import import_module
from airserve.models.package import open_package

SPOKEN = "how do i pay my bill the cat sat on a mat invoice of last month"
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *SPOKEN.split()]
TEXTS = ["how do i pay my bill", "the cat", "a", "the invoice of last month " * 3]


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as `save_pretrained` leaves it, with a tokenizer of 23 words."""
    folder = tmp_path_factory.mktemp("bert") / "tiny-bert"
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(WORDS),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=40,
    )
    transformers.BertModel(config).save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def embeddings(bert: Path, texts: list[str]) -> np.ndarray:
    """By PyTorch, each text alone: the mean over its tokens, of length 1."""
    model = transformers.BertModel.from_pretrained(bert, local_files_only=True).eval()
    tokenizer = Tokenizer.from_file(str(bert / "tokenizer.json"))
    rows = []
    for text in texts:
        with torch.inference_mode():
            states = model(input_ids=torch.tensor([tokenizer.encode(text).ids])).last_hidden_state[0]
        mean = states.mean(0)
        rows.append((mean / mean.norm()).numpy())
    return np.stack(rows)


def test_an_encoder_becomes_a_package_that_takes_strings(bert: Path, tmp_path: Path) -> None:
    imported = import_file(bert, tmp_path / "out", name="sentences", max_batch=8)
    manifest = open_package(tmp_path / "out").manifest
    assert imported.source == "Hugging Face bert"
    assert manifest.text is not None
    assert manifest.text.max_tokens == 40
    assert manifest.max_batch == 8
    assert imported.parity is not None
    assert imported.parity.difference < 1e-5
    source = Source(folder=tmp_path / "out", file="model.onnx", signature=manifest.signature, text=manifest.text)
    model = load_model("onnx", source, threads=1)
    given = model.run({"text": np.array([text.encode() for text in TEXTS], dtype=object)})["embedding"]
    np.testing.assert_allclose(given, embeddings(bert, TEXTS), atol=1e-5)
    model.close()


def changed(bert: Path, folder: Path, **values: Any) -> Path:
    shutil.copytree(bert, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **values}))
    return folder


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"auto_map": {"AutoModel": "evil.Model"}}, "code of its own"),
        ({"model_type": "gpt2"}, "of the kind 'gpt2'; the encoders imported are bert"),
        ({"is_decoder": True}, "of the kind 'bert'"),
        ({"hidden_size": 33}, "cannot be loaded"),
    ],
)
def test_a_folder_that_is_no_such_encoder_says_why(
    bert: Path, values: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(BadPackageError, match=message):
        import_file(changed(bert, tmp_path / "changed", **values), tmp_path / "out", name="m")
    assert not (tmp_path / "out").exists()


def _safetensors(header: Any, data: bytes = bytes(64), *, length: int | None = None) -> bytes:
    """A file with this header; `length` is what it says of it."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def _tensor(shape: list[int], *offsets: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": list(offsets)}


@pytest.mark.parametrize(
    "weights",
    [
        _safetensors({"a": _tensor([16], 0, 64)}, length=1 << 40),
        _safetensors({"a": _tensor([16], 0, 64)}, length=(1 << 64) - 1),
        _safetensors(b" " * (100 << 20)),
        _safetensors(b"{" * 1000),
        _safetensors(b""),
        b"",
        _safetensors({"a": _tensor([8], 0, 32), "b": _tensor([8], 16, 48)}, bytes(48)),
        _safetensors({"a": _tensor([4], 0, 16), "b": _tensor([4], 32, 48)}, bytes(48)),
        _safetensors({"a": _tensor([16], 0, 64)}, bytes(32)),
        _safetensors({"a": _tensor([16], 0, 64)}, bytes(128)),
        _safetensors({"a": _tensor([8], 0, 64)}),
        _safetensors({"a": _tensor([16], 64, 0)}),
        _safetensors({"a": _tensor([4194305, 4194305, 211106198978564], 0, 64)}),
        _safetensors({"a": _tensor([-16], 0, 64)}),
        _safetensors({"a": _tensor([16], 0, 64, dtype="PICKLE")}),
        _safetensors({f"t{n}": _tensor([0], 0, 0) for n in range(100_000)}, b""),
    ],
    ids=[
        "header beyond the file", "header of 2^64", "header of 100 MB", "no JSON", "no header", "no byte", "overlap",
        "gap", "cut off", "bytes of no tensor", "shape and size differ", "backwards", "overflow", "negative", "no type",
        "100,000 tensors",
    ],
)  # fmt: skip
def test_weights_that_lie_about_themselves_are_refused(bert: Path, weights: bytes, tmp_path: Path) -> None:
    folder = changed(bert, tmp_path / "lying")
    (folder / "model.safetensors").write_bytes(weights)
    with pytest.raises(BadPackageError, match="lying"):
        import_file(folder, tmp_path / "out", name="m")
    assert not (tmp_path / "out").exists()


def test_a_folder_with_pickled_weights_alone_is_refused(bert: Path, tmp_path: Path) -> None:
    folder = changed(bert, tmp_path / "pickled")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(BadPackageError, match=r"has no model\.safetensors"):
        import_file(folder, tmp_path / "out", name="m")


def test_a_folder_that_asks_for_another_pooling_is_refused(bert: Path, tmp_path: Path) -> None:
    folder = changed(bert, tmp_path / "pooled")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(
        '{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}'
    )
    with pytest.raises(BadPackageError, match="other than the mean"):
        import_file(folder, tmp_path / "out", name="m")


def test_a_module_becomes_a_package_where_its_code_is(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.5), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    sample = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    imported = import_module(module, sample, tmp_path / "out", name="scorer", outputs=["scores"])
    manifest = imported.manifest
    assert [(each.name, each.datatype, each.shape) for each in (*manifest.inputs, *manifest.outputs)] == [
        ("x", "FP32", (-1, 4)),
        ("scores", "FP32", (-1, 3)),
    ]
    model = load_model(
        "onnx", Source(folder=tmp_path / "out", file="model.onnx", signature=manifest.signature), threads=1
    )
    with torch.inference_mode():
        wanted = module.eval()(torch.from_numpy(sample)).numpy()
    np.testing.assert_allclose(model.run({"x": sample})["scores"], wanted, atol=1e-5)


def test_a_module_whose_graph_is_right_for_one_batch_alone_is_not_written(tmp_path: Path) -> None:
    class Fixed(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * float(x.shape[0])

    with pytest.raises(BadPackageError, match="differs from the module"):
        import_module(Fixed(), np.ones((3, 2), np.float32), tmp_path / "out", name="m")
    assert not (tmp_path / "out").exists()
