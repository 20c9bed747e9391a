from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from airserve.core.errors import BadPackageError
from airserve.models.manifest import Manifest, Tensor, Variant, parse_manifest, render_manifest
from airserve.models.onnx_import import package_onnx, read_signature
from airserve.models.package import file_hash, open_package, write_package
from tests.models_for_tests import save_linear

MANIFEST = Manifest(
    name="m", engine="onnx", max_batch=8,
    inputs=(Tensor("x", "FP32", (-1, 4)),), outputs=(Tensor("y", "FP32", (-1, 4)),),
    variants=(Variant("fp32", "model.onnx", 5, accuracy=0.5, metric="accuracy"),),
)  # fmt: skip


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return write_package(tmp_path / "p", MANIFEST, {"model.onnx": b"bytes", "sub/labels.txt": b"a\nb\n"})


def seal(folder: Path) -> None:
    """Write SHA256SUMS anew, so that only what the test changed is wrong."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "SHA256SUMS")
    sums = "".join(f"{file_hash(p)}  {p.relative_to(folder).as_posix()}\n" for p in files)
    (folder / "SHA256SUMS").write_text(sums)


def test_a_package_is_what_was_written_and_sha256sum_agrees(package: Path) -> None:
    opened = open_package(package)
    assert opened.manifest == MANIFEST == parse_manifest(render_manifest(MANIFEST))
    assert opened.files == ("airserve.toml", "model.onnx", "sub/labels.txt")
    subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=package, check=True)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda p: (p / "model.onnx").write_bytes(b"other"), "does not match its checksum"),
        (lambda p: (p / "model.onnx").write_bytes(b"byte"), "does not match its checksum"),
        (lambda p: (p / "model.onnx").unlink(), "missing"),
        (lambda p: (p / "extra").write_bytes(b""), "not listed"),
        (lambda p: (p / "SHA256SUMS").unlink(), "no SHA256SUMS"),
        (lambda p: (p / "SHA256SUMS").write_text("nonsense\n"), "no checksum"),
        (lambda p: (p / "SHA256SUMS").write_text(f"{'0' * 64}  ../../etc/passwd\n"), "outside"),
        (lambda p: (p / "SHA256SUMS").write_text(f"{'0' * 64}  /etc/passwd\n"), "outside"),
        (lambda p: ((p / "model.onnx").unlink(), (p / "model.onnx").symlink_to("/etc/passwd")), "link"),
        (lambda p: ((p / "w.pkl").write_bytes(b"x"), seal(p)), "pickled"),
        (lambda p: ((p / "airserve.toml").write_text("name = 3"), seal(p)), "name"),
        (lambda p: ((p / "airserve.toml").write_text("colour = 'red'"), seal(p)), "airserve.toml"),
        (lambda p: ((p / "airserve.toml").write_bytes(b"\xff\xfe"), seal(p)), "airserve.toml"),
    ],
)
def test_a_damaged_package_is_refused_with_what_is_wrong(package: Path, damage: object, words: str) -> None:
    damage(package)  # type: ignore[operator]
    with pytest.raises(BadPackageError) as refusal:
        open_package(package)
    assert words in refusal.value.message


def test_a_bare_graph_tells_its_signature(tmp_path: Path) -> None:
    path = save_linear(tmp_path / "m.onnx")
    inputs, outputs = read_signature(path)
    assert [(spec.name, spec.datatype, spec.shape) for spec in inputs] == [("x", "FP32", (-1, 4))]
    assert outputs[0].name == "y"
    manifest = open_package(package_onnx(path, tmp_path / "p", name="m")).manifest
    assert manifest.max_batch == 64


def test_graphs_that_cannot_be_trusted_are_refused(tmp_path: Path) -> None:
    import numpy as np
    import onnx

    garbage = tmp_path / "g.onnx"
    garbage.write_bytes(b"garbage")
    with pytest.raises(BadPackageError, match="no valid ONNX"):
        read_signature(garbage)

    outside = onnx.load(save_linear(tmp_path / "e.onnx"))
    tensor = onnx.numpy_helper.from_array(np.zeros(1, np.float32), "factor")
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    outside.graph.initializer[0].CopyFrom(tensor)
    onnx.save(outside, tmp_path / "e.onnx")
    with pytest.raises(BadPackageError, match="another file"):
        read_signature(tmp_path / "e.onnx")

    strange = onnx.load(save_linear(tmp_path / "s.onnx"))
    strange.opset_import.append(onnx.helper.make_opsetid("evil.ops", 1))
    onnx.save(strange, tmp_path / "s.onnx")
    with pytest.raises(BadPackageError, match=r"evil\.ops"):
        read_signature(tmp_path / "s.onnx")
