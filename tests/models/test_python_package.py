from __future__ import annotations

from pathlib import Path

import pytest

from airserve.core.errors import BadPackageError
from airserve.engines.options import Python
from airserve.models.manifest import Manifest, Tensor, Variant, render_manifest
from airserve.models.package import open_package, write_package
from airserve.models.python_package import is_python_source, package_python

CODE = """
raise SystemExit("this code must not run here")

class Model:
    inputs = {"x": ("FP32", [-1, 4]), "s": ("BYTES", [-1])}
    outputs: dict = {"y": ("FP32", [-1])}
    max_batch = 16

    def load(self, folder): ...
    def predict(self, batch): ...
"""
TENSORS = {"inputs": (Tensor("x", "FP32", (-1, 4)),), "outputs": (Tensor("y", "FP32", (-1,)),)}


def write(path: Path, code: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(code)
    return path


def test_the_class_says_its_signature_and_is_not_run(tmp_path: Path) -> None:
    package = open_package(package_python(write(tmp_path / "scorer.py", CODE), tmp_path / "out", name="scorer"))
    manifest = package.manifest
    assert (manifest.name, manifest.engine, manifest.max_batch) == ("scorer", "python", 16)
    assert manifest.inputs == (Tensor("x", "FP32", (-1, 4)), Tensor("s", "BYTES", (-1,)))
    assert manifest.outputs == (Tensor("y", "FP32", (-1,)),)
    assert manifest.variants[0].file == "model.py"
    assert package.files == ("airserve.toml", "model.py")


def test_without_max_batch_a_free_first_axis_decides(tmp_path: Path) -> None:
    free = write(tmp_path / "free.py", CODE.replace("    max_batch = 16\n", ""))
    assert open_package(package_python(free, tmp_path / "a", name="m")).manifest.max_batch > 1
    fixed = write(tmp_path / "fixed.py", free.read_text().replace("[-1, 4]", "[2, 4]"))
    assert open_package(package_python(fixed, tmp_path / "b", name="m")).manifest.max_batch == 0


def test_a_folder_goes_along_whole_without_caches_and_hidden_files(tmp_path: Path) -> None:
    source = tmp_path / "scorer"
    write(source / "model.py", CODE)
    for name in ("weights.npz", "lib/helper.py", "__pycache__/model.pyc", ".git/config"):
        write(source / name, "content")
    assert is_python_source(source)
    package = open_package(package_python(source, tmp_path / "out", name="scorer"))
    assert package.files == ("airserve.toml", "lib/helper.py", "model.py", "weights.npz")


def test_a_manifest_beside_the_code_needs_no_list_of_variants(tmp_path: Path) -> None:
    source = tmp_path / "scorer"
    write(source / "model.py", "class Other: ...")
    manifest = Manifest(name="mine", engine="python", python=Python(attribute="Other", workers=2), **TENSORS)
    (source / "airserve.toml").write_bytes(render_manifest(manifest))
    package = open_package(package_python(source, tmp_path / "out", name="scorer", max_batch=4))
    assert package.manifest.name == "mine"
    assert package.manifest.python == Python(attribute="Other", workers=2)
    assert package.manifest.max_batch == 4
    assert not is_python_source(package.folder)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("x = (", "is no Python"),
        ("class Other: ...", "no class 'Model'"),
        ("class Model: ...", "does not say its inputs and outputs"),
        ("class Model:\n    inputs = {'x': ('FP32', SHAPE)}", "line 2: 'inputs' must be written out"),
        ("class Model:\n    inputs = ['x']\n    outputs = {}", "class 'Model': Expected `object`"),
        ("class Model:\n    inputs = {'x': ('FP99', [-1])}\n    outputs = {'y': ('FP32', [-1])}", "datatype 'FP99'"),
        ("class Model:\n    inputs = {'x': ('FP32', [-1])}\n    outputs = {}", "at least one input and one output"),
    ],
)
def test_what_is_missing_is_said(tmp_path: Path, code: str, message: str) -> None:
    with pytest.raises(BadPackageError, match=message):
        package_python(write(tmp_path / "m.py", code), tmp_path / "out", name="m")
    assert not (tmp_path / "out").exists()


def test_pickles_are_refused_and_code_is_for_the_engine_python_alone(tmp_path: Path) -> None:
    variant = (Variant("code", "model.py", 1),)
    python = Manifest(name="m", engine="python", variants=variant, **TENSORS)
    with pytest.raises(BadPackageError, match="pickled weights"):
        write_package(tmp_path / "a", python, {"model.py": b"x", "weights.pkl": b""})
    onnx = Manifest(name="m", engine="onnx", variants=(Variant("fp32", "model.onnx", 1),), **TENSORS)
    with pytest.raises(BadPackageError, match=r"helper.py: only a package with engine 'python'"):
        write_package(tmp_path / "b", onnx, {"model.onnx": b"x", "helper.py": b""})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 0}, "workers"),
        ({"timeout_ms": 0}, "timeout_ms"),
        ({"memory_mb": -1}, "memory_mb"),
        ({"attribute": "not a name"}, "attribute"),
        ({"environment": {"A-B": "x"}}, "'A-B'"),
    ],
)
def test_a_section_that_makes_no_sense_is_refused(tmp_path: Path, options: dict[str, object], message: str) -> None:
    variant = (Variant("code", "model.py", 1),)
    manifest = Manifest(name="m", engine="python", variants=variant, python=Python(**options), **TENSORS)  # type: ignore[arg-type]
    with pytest.raises(BadPackageError, match=message):
        write_package(tmp_path / "a", manifest, {"model.py": b"x"})
