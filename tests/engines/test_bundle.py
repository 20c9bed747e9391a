from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airserve.core.errors import AirserveError, BadPackageError, TooLargeError
from airserve.engines.bundle import BundledTensor, Head, load_bundle, read_bundle, write_bundle
from airserve.engines.options import Text
from tests.models_for_tests import save_linear

X, Y = BundledTensor("x", "FP32", (-1, 4)), BundledTensor("y", "FP32", (-1, 4))


def head(**changes: object) -> Head:
    given = Head(model="m", version=3, address="a" * 64, kind="model", weights="w", inputs=(X,), outputs=(Y,))
    return msgspec.structs.replace(given, **changes)


NAMES = st.text(max_size=20)


@given(st.dictionaries(NAMES, st.binary(max_size=200), min_size=1, max_size=5), st.lists(st.text(max_size=8)))
def test_what_is_written_is_read(contents: dict[str, bytes], labels: list[str]) -> None:
    given = head(weights=next(iter(contents)), labels=tuple(labels))
    read = read_bundle(write_bundle(given, contents))
    assert msgspec.structs.replace(read.head, files=()) == given
    assert dict(read.contents) == contents
    assert [read.source.contents.read(name) for name in contents] == list(contents.values())


WHOLE = write_bundle(head(text=Text(tokenizer="t")), {"w": b"weights" * 9, "t": b"tokens"})


@given(st.data())
def test_every_bundle_that_was_cut_off_or_changed_is_refused_or_says_the_same(data: st.DataObject) -> None:
    end = data.draw(st.integers(0, len(WHOLE) - 1))
    with pytest.raises(BadPackageError):
        read_bundle(WHOLE[:end])
    with pytest.raises(BadPackageError):
        read_bundle(WHOLE + b"x")
    changed = bytearray(WHOLE)
    changed[end] ^= 1 << data.draw(st.integers(0, 7))
    try:
        read = read_bundle(bytes(changed))
    except AirserveError:
        return
    # Of the head alone can a bit be another: what it says of files is held against them.
    assert list(read.contents.values()) == [b"weights" * 9, b"tokens"]


@given(st.binary(max_size=300))
def test_any_bytes_behind_the_magic_are_a_bundle_or_a_refusal(tail: bytes) -> None:
    for start in (b"AIRSDEV1", b"AIRSDEV1" + struct.pack("<I", len(tail))):
        with pytest.raises(AirserveError):
            read_bundle(start + tail)


@pytest.mark.parametrize(
    ("given", "contents"),
    [
        (head(weights="other"), {"w": b""}),
        (head(text=Text(tokenizer="t")), {"w": b""}),
        (head(inputs=()), {"w": b""}),
        (head(inputs=(BundledTensor("x", "OBJECT", (1,)),)), {"w": b""}),
        (head(outputs=(BundledTensor("y", "FP32", (-2,)),)), {"w": b""}),
        (head(), {str(number): b"" for number in range(20)} | {"w": b""}),
    ],
)
def test_a_head_that_makes_no_sense_is_refused(given: Head, contents: dict[str, bytes]) -> None:
    with pytest.raises(BadPackageError):
        read_bundle(write_bundle(given, contents))


def test_what_is_over_a_bound_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with pytest.raises(TooLargeError):
        read_bundle(WHOLE, max_bytes=len(WHOLE) - 1)
    (tmp_path / "bundle").write_bytes(WHOLE)
    with pytest.raises(TooLargeError):
        read_bundle(tmp_path / "bundle", max_bytes=len(WHOLE) - 1)
    with pytest.raises(TooLargeError):
        read_bundle(b"AIRSDEV1" + struct.pack("<I", 1 << 31) + bytes(100))
    with pytest.raises(BadPackageError, match="cannot be read"):
        read_bundle(tmp_path / "none")


def test_a_bundle_runs_from_memory_and_from_a_file(tmp_path: Path) -> None:
    weights = save_linear(tmp_path / "m.onnx").read_bytes()
    bundle = write_bundle(head(weights="m.onnx", max_batch=8), {"m.onnx": weights})
    (tmp_path / "bundle").write_bytes(bundle)
    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    for one in (bundle, tmp_path / "bundle"):
        model = load_bundle(one, threads=1)
        assert model.signature.max_batch == 8
        np.testing.assert_array_equal(model.run({"x": x})["y"], 2 * x)
        model.close()


def test_a_file_for_a_library_that_wants_one_is_there_while_it_is_used() -> None:
    files = read_bundle(WHOLE).source.contents
    with files.opened("t") as path:
        assert path.read_bytes() == b"tokens"
    assert not path.exists()
    with pytest.raises(BadPackageError, match="no file"):
        files.read("other")


def test_a_device_reads_bundles_without_what_servers_and_codecs_need(tmp_path: Path) -> None:
    weights = save_linear(tmp_path / "m.onnx").read_bytes()
    (tmp_path / "bundle").write_bytes(write_bundle(head(weights="m.onnx"), {"m.onnx": weights}))
    program = f"""
import sys
for absent in ("zstandard", "lz4", "constriction", "onnx", "sqlalchemy", "cryptography", "pydantic"):
    sys.modules[absent] = None
import pathlib
from airserve.engines.bundle import load_bundle
model = load_bundle(pathlib.Path({str(tmp_path / "bundle")!r}), threads=1)
print(model.run(model.example(1))["y"].shape)
sys.modules.pop("onnxruntime"), sys.modules.pop("airserve.engines.session"), sys.modules.pop("airserve.engines.onnx")
sys.modules["onnxruntime"] = None
try:
    load_bundle(pathlib.Path({str(tmp_path / "bundle")!r}), threads=1)
except Exception as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == [
        "(1, 4)",
        "running a model on this device needs onnxruntime: pip install 'airserve[device]'",
    ], done.stderr
