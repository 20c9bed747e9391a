from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import pickle
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airserve.core.errors import UnsafeFormatError
from airserve.models.formats import refuse_unsafe, unsafe_reason
from airserve.models.importers.files import import_file
from airserve.models.manifest import Manifest, Tensor, Variant
from airserve.models.package import write_package
from tests.models_for_tests import save_linear


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch /tmp/airserve-was-run",)


def saved(save: Callable[[io.BytesIO], object]) -> bytes:
    buffer = io.BytesIO()
    save(buffer)
    return buffer.getvalue()


def zipped(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "/").replace("_dot_", "."), content)
    return buffer.getvalue()


def tarred(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


EVIL = pickle.dumps(Evil(), 2)
UNSAFE = {
    **{f"pickle-{protocol}": pickle.dumps(Evil(), protocol) for protocol in range(6)},
    **{
        f"pickle-behind-a-long-value-{protocol}": pickle.dumps(("x" * 100_000, Evil()), protocol) for protocol in (2, 5)
    },
    "pickle-of-values": pickle.dumps({"a": list(range(9))}, 4),
    "calls-and-then-garbage": b"cos\nsystem\n(S'true'\ntR\xff\xff\xff",
    "inst": b"(S'true'\nios\nsystem\n.",
    "zlib": zlib.compress(EVIL),
    "gzip": gzip.compress(EVIL),
    "bzip2": bz2.compress(EVIL),
    "xz": lzma.compress(EVIL),
    "pytorch": zipped(archive__data_dot_pkl=EVIL, archive__data__0=b"\0" * 64),
    "pytorch-under-another-name": zipped(weights=EVIL),
    "npz-of-objects": saved(lambda file: np.savez(file, a=np.array([Evil()], object))),
    "npy-of-objects": saved(lambda file: np.save(file, np.array([Evil()], object))),
    "old-pytorch": tarred("pickle", EVIL),
    "hdf5": b"\x89HDF\r\n\x1a\n" + b"\0" * 100,
    "hdf5-behind-a-user-block": b"\0" * 512 + b"\x89HDF\r\n\x1a\n" + b"\0" * 100,
    "keras": zipped(config_dot_json=b"{}", metadata_dot_json=b"{}"),
    "polyglot": b"\x08\x08" + b"\0" * 50 + zipped(a=b"1"),
    "damaged-zip": b"PK\x03\x04" + b"\0" * 50,
}
SAFE = {
    "npy": saved(lambda file: np.save(file, np.ones(3))),
    "npz": saved(lambda file: np.savez(file, a=np.ones(3), b=np.array(["x"]))),
    "labels": b"cat\ndog\nbird\n",
    "text": b"jaraco. (oops) import os\n.",
    "json": b'{"model": {"vocab": {}}}',
    "safetensors": b"\x80\x02" + b"\0" * 6 + b"{" + b" " * 639,
    "gzip-of-text": gzip.compress(b"hello\n" * 100),
    "empty": b"",
}


@pytest.mark.parametrize("name", UNSAFE)
def test_what_can_run_code_is_refused_by_its_bytes_whatever_it_is_called(name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(UNSAFE[name])
    with pytest.raises(UnsafeFormatError) as refusal:
        refuse_unsafe(path)
    assert refusal.value.http_status == 415 and refusal.value.code == "unsafe_format"
    with pytest.raises(UnsafeFormatError):
        import_file(path, tmp_path / "package", name="m")
    manifest = Manifest(
        name="m", engine="onnx", inputs=(Tensor("x", "FP32", (1,)),), outputs=(Tensor("y", "FP32", (1,)),),
        variants=(Variant("v", "model.onnx", 1),),
    )  # fmt: skip
    with pytest.raises(UnsafeFormatError):
        write_package(tmp_path / "package", manifest, {"model.onnx": UNSAFE[name]})
    assert not Path("/tmp/airserve-was-run").exists()


@pytest.mark.parametrize("name", SAFE)
def test_what_only_looks_like_it_is_let_through(name: str) -> None:
    assert unsafe_reason(io.BytesIO(SAFE[name])) is None


def test_a_graph_is_no_pickle(tmp_path: Path) -> None:
    refuse_unsafe(save_linear(tmp_path / "m.onnx"))


@given(st.binary(max_size=300))
def test_looking_never_fails(content: bytes) -> None:
    unsafe_reason(io.BytesIO(content))


@given(st.recursive(st.integers() | st.text() | st.binary(), lambda inner: st.lists(inner)), st.integers(2, 5))
def test_no_pickle_with_a_call_in_it_passes(value: object, protocol: int) -> None:
    assert unsafe_reason(io.BytesIO(pickle.dumps((value, Evil()), protocol))) is not None
