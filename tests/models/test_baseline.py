"""The baseline of a model: what is counted, what is kept of rows, and what a damaged one is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from airserve.core.call import Array
from airserve.core.errors import BadPackageError, InvalidInputError
from airserve.models.baseline import (
    BASELINE_NAME,
    LEAST_ROWS,
    Baseline,
    baseline_of,
    parse_baseline,
    render_baseline,
    split_rows,
)
from airserve.models.baseline_package import with_baseline
from airserve.models.manifest import Manifest, Tensor, Variant
from airserve.models.onnx_import import package_onnx
from airserve.models.onnx_limits import OnnxLimits
from airserve.models.package import FILE_NAME, open_package, write_package
from tests.models.baselines import baseline_of_columns, manifest_of_columns
from tests.models_for_tests import save_linear, save_wide

VALUES = st.floats(-1e9, 1e9, width=32) | st.sampled_from([0.0, 1.0, 16.0]) | st.just(np.nan)


@given(arrays(np.float32, (120, 2), elements=VALUES))
def test_every_row_is_counted_once_and_no_bin_holds_much_more_than_a_tenth_but_for_one_value(x: Array) -> None:
    for at, each in enumerate(baseline_of_columns(x).statistics):
        assert len(each.counts) == len(each.edges) + 2 and sum(each.counts) == len(x)
        assert each.counts[-1] == np.isnan(x[:, at]).sum()
        known = x[~np.isnan(x[:, at]), at].astype(np.float64)
        bins = np.searchsorted(each.edges, known, side="right")
        for number in np.unique(bins):
            inside = np.unique(known[bins == number])
            assert len(inside) == 1 or np.sum(bins == number) <= 0.1 * len(known) + 2


def test_a_value_that_never_changes_has_a_bin_of_its_own() -> None:
    (found,) = baseline_of_columns(np.full((200, 1), 3.0)).statistics
    assert found.counts == (0, 200, 0, 0)
    low, high = found.edges
    assert low == 3.0 < high < np.nextafter(np.float32(3), np.float32(4))


def test_no_row_is_in_the_file() -> None:
    x = np.random.default_rng(0).normal(size=(500, 4)).astype(np.float32)
    kept = [each for statistic in baseline_of_columns(x).statistics for each in statistic.edges]
    whole = sum(set(row) <= {np.float32(each) for each in kept} for row in x.tolist())
    assert whole == 0
    assert np.isin(x.ravel(), np.array(kept, np.float32)).sum() <= len(kept)
    assert not np.isin([x.min(), x.max()], kept).any()


def test_the_file_gives_back_the_baseline() -> None:
    manifest, x = manifest_of_columns(3), np.random.default_rng(0).normal(size=(300, 3))
    baseline = baseline_of(manifest, split_rows({"x": x}, {"y": x[:, :1]}))
    assert parse_baseline(render_baseline(baseline), manifest) == baseline


def test_an_embedding_s_directions_are_found_in_other_rows_than_are_counted() -> None:
    manifest = Manifest(
        name="e", engine="onnx", inputs=(Tensor("x", "FP32", (-1, 2)),), outputs=(Tensor("v", "FP32", (-1, 64)),),
        variants=(Variant("original", "model.onnx", 1),), max_batch=8,
    )  # fmt: skip
    random = np.random.default_rng(0)
    vectors = random.normal(size=(401, 64)) * np.linspace(3, 0.1, 64)
    baseline = baseline_of(manifest, split_rows({"x": random.normal(size=(401, 2))}, {"v": vectors}))
    assert baseline.embedding is not None and len(baseline.embedding.components) == 8
    components = np.array(baseline.embedding.components)
    assert np.allclose(components @ components.T, np.eye(8), atol=1e-5)
    assert np.allclose(baseline.embedding.center, vectors[::2].mean(axis=0), atol=1e-5)
    counted = {each.name: sum(each.counts) for each in baseline.statistics}
    assert counted["x[0]"] == 401 and counted["v.1"] == counted["v.distance"] == 200
    assert parse_baseline(render_baseline(baseline), manifest) == baseline


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(InvalidInputError, match=f"at least {LEAST_ROWS} rows, this sample has 99"):
        baseline_of_columns(np.zeros((99, 1)))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"format": "airserve-baseline-9"}, "format"),
        ({"statistics": []}, "other inputs and outputs"),
        ({"statistics": [{"name": "c0", "edges": [2.0, 1.0], "counts": [1, 1, 1, 1]}]}, "ascending"),
        ({"statistics": [{"name": "c0", "edges": [1.0], "counts": [1, 1]}]}, "a count for each bin"),
        ({"statistics": [{"name": "c0", "edges": [1.0], "counts": [1, -1, 1]}]}, "a count for each bin"),
        ({"statistics": [{"name": "c0", "edges": [], "counts": [0, 0]}]}, "a count for each bin"),
        ({"embedding": {"output": "y", "center": [], "components": [], "spread": 1.0}}, "no embedding"),
        ({"rows": "many"}, "Expected `int`"),
        ({"secret": 1}, "unknown field"),
    ],
)
def test_a_damaged_one_is_refused_with_a_sentence(change: dict[str, Any], sentence: str) -> None:
    manifest = manifest_of_columns(1)
    x = np.random.default_rng(0).normal(size=(200, 1))
    document = json.loads(render_baseline(baseline_of(manifest, split_rows({"x": x}, {"y": x}))))
    with pytest.raises(BadPackageError, match=sentence):
        parse_baseline(json.dumps({**document, **change}).encode(), manifest)


def test_a_package_gets_one_of_a_sample_and_another_in_its_place(tmp_path: Path) -> None:
    package_onnx(
        save_linear(tmp_path / "linear.onnx"), tmp_path / "bare", name="linear", max_batch=None, limits=OnnxLimits()
    )
    random = np.random.default_rng(0)
    np.save(tmp_path / "rows.npy", random.normal(size=(150, 4)).astype(np.float32))
    np.save(tmp_path / "more.npy", random.normal(size=(250, 4)).astype(np.float32))
    first = with_baseline(tmp_path / "bare", tmp_path / "first", tmp_path / "rows.npy", OnnxLimits())
    second = with_baseline(first, tmp_path / "second", tmp_path / "more.npy", OnnxLimits())
    found = [msgspec.json.decode((each / BASELINE_NAME).read_bytes(), type=Baseline) for each in (first, second)]
    assert [each.rows for each in found] == [150, 250]
    assert {each.name for each in found[0].statistics} == {
        *(f"x[{at}]" for at in range(4)),
        *(f"y[{at}]" for at in range(4)),
    }
    assert open_package(second).manifest == open_package(tmp_path / "bare").manifest


def test_a_package_with_another_model_s_baseline_is_refused(tmp_path: Path) -> None:
    package_onnx(
        save_wide(tmp_path / "wide.onnx", 5), tmp_path / "wide", name="wide", max_batch=None, limits=OnnxLimits()
    )
    package = open_package(tmp_path / "wide")
    files: dict[str, bytes | Path] = {name: package.path(name) for name in package.files if name != FILE_NAME}
    x = np.random.default_rng(0).normal(size=(200, 1))
    strange = render_baseline(baseline_of(manifest_of_columns(1), split_rows({"x": x}, {"y": x})))
    with pytest.raises(BadPackageError, match=r"baseline.json: it is of a model with other inputs and outputs"):
        write_package(tmp_path / "mixed", package.manifest, {**files, BASELINE_NAME: strange})
