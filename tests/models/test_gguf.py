from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airserve.core.errors import BadPackageError, NotFoundError
from airserve.engines.options import Language
from airserve.models.catalog import Catalog
from airserve.models.gguf_header import read_header
from airserve.models.gguf_import import DEFAULT_DEADLINE_MS, package_gguf
from airserve.models.package import open_package
from airserve.storage import Database
from tests import large_models

U32, U64, STRING, BOOL, ARRAY = 4, 10, 8, 7, 9
BASE: dict[str, Any] = {
    "general.architecture": "llama",
    "general.name": "Little",
    "general.license": "apache-2.0",
    "llama.context_length": 2048,
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.tokens": ["a", "b", "cc"],
}
F32, Q4_0 = 0, 2


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def entry(key: str, value: Any) -> bytes:
    head = text(key)
    if isinstance(value, bool):
        return head + struct.pack("<I?", BOOL, value)
    if isinstance(value, int):
        return head + struct.pack("<II", U32, value)
    if isinstance(value, str):
        return head + struct.pack("<I", STRING) + text(value)
    return head + struct.pack("<IIQ", ARRAY, STRING, len(value)) + b"".join(map(text, value))


def gguf(version: int = 3, tensors: int = 1, **changes: Any) -> bytes:
    """A whole GGUF file: one tensor of 2×32 weights in Q4_0, and BASE with `changes`, of which None leaves out."""
    metadata = {key: value for key, value in {**BASE, **changes}.items() if value is not None}
    data = b"GGUF" + struct.pack("<IQQ", version, tensors, len(metadata))
    data += b"".join(entry(key, value) for key, value in metadata.items())
    data += text("weights") + struct.pack("<IQQIQ", 2, 32, 2, Q4_0, 0)
    data += b"\0" * (-len(data) % 32)
    return data + b"\1" * (2 * 18)


@pytest.fixture
def save(tmp_path: Path) -> Any:
    def save(data: bytes) -> Path:
        path = tmp_path / "Little-1B.gguf"
        path.write_bytes(data)
        return path

    return save


def test_a_header_says_name_architecture_context_and_size(save: Any) -> None:
    header = read_header(save(gguf()))
    assert header.architecture == "llama"
    assert header.text("general.name") == "Little"
    assert header.number("llama.context_length") == 2048
    assert header.parameters == 64
    assert "tokenizer.ggml.tokens" not in header.metadata
    assert (header.text("llama.context_length"), header.number("general.name")) == ("", 0)


def test_a_package_of_it_holds_what_the_engine_needs(save: Any, tmp_path: Path) -> None:
    package = open_package(package_gguf(save(gguf()), tmp_path / "package", name="little"))
    manifest = package.manifest
    assert (manifest.name, manifest.engine, manifest.max_batch) == ("little", "llama", 0)
    assert [(each.name, each.datatype, each.shape) for each in (*manifest.inputs, *manifest.outputs)] == [
        ("text_input", "BYTES", (1,)),
        ("text_output", "BYTES", (1,)),
    ]
    assert manifest.language == Language(context=2048, slots=4)
    assert manifest.licence == "apache-2.0"
    assert "Little, llama" in manifest.description
    assert manifest.default_deadline_ms == DEFAULT_DEADLINE_MS


def test_context_and_slots_can_be_chosen_within_what_the_model_was_trained_for(save: Any, tmp_path: Path) -> None:
    path = save(gguf())
    folder = package_gguf(path, tmp_path / "one", name="m", context=1024, slots=2, chat_template="{{ messages }}")
    assert open_package(folder).manifest.language == Language(context=1024, slots=2, chat_template="{{ messages }}")
    with pytest.raises(BadPackageError, match="trained with a context of 2048 tokens; 4096 are too many"):
        package_gguf(path, tmp_path / "two", name="m", context=4096)
    with pytest.raises(BadPackageError, match="slots is 1 to"):
        package_gguf(path, tmp_path / "three", name="m", slots=0)
    long = save(gguf(**{"llama.context_length": 1 << 17}))
    assert open_package(package_gguf(long, tmp_path / "four", name="m")).manifest.language == Language()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "is no GGUF file"),
        (b"GGML" + gguf()[4:], "is no GGUF file"),
        (gguf(version=1), "version 1"),
        (b"GGUF" + struct.pack(">I", 3) + gguf()[8:], "byte order"),
        (gguf()[:-1], "ends 1 bytes too early"),
        (gguf()[:60], "in the middle of its header"),
        (gguf(tensors=1 << 40), "more tensors"),
        (gguf(**{"general.architecture": None}), "no language model"),
        (gguf(**{"general.type": "adapter"}), "no language model"),
        (gguf(**{"split.count": 3}), "one of 3 parts"),
        (gguf(**{"llama.context_length": None}), "no context length"),
        (gguf(**{"tokenizer.ggml.model": None}), "no tokenizer"),
        (gguf(**{"llama.attention.causal": False}), "embeddings"),
        (gguf(**{"llama.pooling_type": 1}), "embeddings"),
        (gguf(**{"general.alignment": 3}), "alignment"),
    ],
)
def test_a_file_that_is_no_whole_language_model_is_refused_with_the_reason(
    save: Any, tmp_path: Path, data: bytes, says: str
) -> None:
    with pytest.raises(BadPackageError, match=says):
        package_gguf(save(data), tmp_path / "package", name="m")
    assert not (tmp_path / "package").exists()


def test_a_file_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"no\.gguf"):
        package_gguf(tmp_path / "no.gguf", tmp_path / "package", name="m")


@given(st.data())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_was_changed_in_a_file_it_is_read_or_refused_with_a_sentence(save: Any, data: st.DataObject) -> None:
    damaged = bytearray(gguf())
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(4, len(damaged) - 1))] = data.draw(st.sampled_from([0, 1, 9, 127, 128, 255]))
    del damaged[data.draw(st.integers(4, len(damaged))) :]
    try:
        read_header(save(bytes(damaged)))
    except BadPackageError as error:
        assert "Little-1B.gguf" in error.message


def test_a_bare_file_is_published_under_its_own_name_or_a_given_one(save: Any, tmp_path: Path) -> None:
    database = Database.open(tmp_path / "state")
    catalog = Catalog(database, tmp_path / "state" / "store")
    path = save(gguf())
    assert catalog.publish(path).model == "little-1b"
    published = catalog.publish(path, name="chat", default_deadline_ms=9_000)
    (spec,) = (each for each in catalog.deployments() if each.model == "chat")
    assert (published.version, spec.manifest.default_deadline_ms) == (1, 9_000)
    assert spec.source.contents.read(spec.source.file) == gguf()
    assert spec.source.language == Language(context=2048)
    with pytest.raises(BadPackageError, match="max_batch"):
        catalog.publish(path, max_batch=8)
    database.close()


@pytest.mark.models
def test_a_real_file_is_read() -> None:
    header = read_header(large_models.gemma())
    assert header.architecture == "gemma3"
    assert header.number("gemma3.context_length") == 32_768
    assert 200e6 < header.parameters < 300e6
