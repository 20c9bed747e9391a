"""Every way to make a variant of a graph: what it makes is smaller or as small, loads, and answers nearly the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from airserve.core.call import Array
from airserve.core.errors import AirserveError
from airserve.engines.session import Session
from airserve.models.onnx_admission import admit
from airserve.models.optimise.graph_inputs import graph_inputs
from airserve.models.optimise.method import Method, Original
from airserve.models.optimise.methods import known_methods
from tests.models.optimise.originals import WIDTH, pictures, wide


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Original:
    return wide(tmp_path_factory.mktemp("wide"))


def method(name: str) -> Method:
    return known_methods("onnx", [name]).methods[0]


def answers(file: Path) -> Array:
    session = Session(file, threads=1)
    x = np.random.default_rng(5).normal(size=(20, WIDTH)).astype(np.float32)
    found = session.run({"x": x}, ["y"])["y"]
    session.close()
    return found


@pytest.mark.parametrize(
    ("name", "share", "error"),
    [
        ("slim", 1.01, 1e-5),
        ("fp16", 0.51, 2e-3),
        ("int8-dynamic", 0.27, 0.03),
        ("int8-static", 0.3, 0.05),
        ("int8-weights", 0.3, 0.02),
        ("int4-weights", 0.18, 0.15),
    ],
)
def test_a_variant_is_admitted_and_says_nearly_what_the_original_says(
    original: Original, tmp_path: Path, name: str, share: float, error: float
) -> None:
    target = tmp_path / f"{name}.onnx"
    chosen = method(name)
    assert chosen.fits(original) is None
    chosen.make(original, target)
    admit(target)
    assert target.stat().st_size <= share * original.file.stat().st_size
    exact, found = answers(original.file), answers(target)
    assert found.dtype == exact.dtype
    assert np.abs(found - exact).mean() / np.abs(exact).mean() < error


def test_slimming_folds_what_is_constant(original: Original, tmp_path: Path) -> None:
    method("slim").make(original, tmp_path / "slim.onnx")
    kinds = [node.op_type for node in onnx.load(tmp_path / "slim.onnx").graph.node]
    assert "Mul" not in kinds and len(kinds) < len(onnx.load(original.file).graph.node)


def test_a_method_says_why_a_graph_is_none_for_it(original: Original) -> None:
    assert method("resolution-71").fits(original) == "the model takes no pictures"
    few = Original(original.folder, original.manifest)
    assert "too small to calibrate" in (method("int8-static").fits(few) or "")


def test_a_smaller_picture_is_the_same_part_of_it_at_the_size_that_the_graph_says(tmp_path: Path) -> None:
    original, sample = pictures(tmp_path)
    target = tmp_path / "small.onnx"
    method("resolution-57").make(original, target)
    session = Session(target, threads=1)
    assert session.inputs == {"x": (None, 3, 32, 32)}
    session.close()
    from airserve.models.optimise.tensor_family import TensorFamily

    family = TensorFamily(original, sample.calls, None, threads=1, seconds=0.01)
    family.check(target)
    exact, found = family.judge(original.file), family.judge(target)
    assert family.accuracy(exact, found).value == 1.0
    assert not np.array_equal(exact["probability"], found["probability"])


def test_a_picture_that_is_small_already_is_left_alone(tmp_path: Path) -> None:
    original, _ = pictures(tmp_path)
    with pytest.raises(AirserveError, match="64 pixels a side are small already"):
        method("resolution-86").make(original, tmp_path / "large.onnx")


def test_the_step_before_a_graph_is_done_for_calibration(tmp_path: Path) -> None:
    original, sample = pictures(tmp_path)
    (row,) = graph_inputs(original, sample.calls[:1])
    assert row["x"].shape == (1, 3, 64, 64) and row["x"].dtype == np.float32


def test_names_of_methods_are_known_or_refused() -> None:
    without = known_methods("onnx", learning=False)
    assert without.missing["pruning"] == "learns from rows: give a training set with --train"
    names = [each.name for each in known_methods("onnx").methods]
    assert len(names) == len(set(names)) > len(without.methods) > 6
    assert [each.name for each in known_methods("onnx", ["fp16", "slim"]).methods] == ["fp16", "slim"]
    with pytest.raises(AirserveError, match="no method 'int3'; there are slim, fp16"):
        known_methods("onnx", ["int3"])
    assert known_methods("python").methods == ()
