"""Baselines of plain columns."""

from __future__ import annotations

import numpy as np

from airserve.core.call import Array
from airserve.models.baseline import Baseline, baseline_of, split_rows
from airserve.models.manifest import Manifest, Tensor, Variant


def manifest_of_columns(width: int, outputs: int = 1) -> Manifest:
    """A model of `width` named columns `c0`, `c1` …, with `outputs` numbers."""
    return Manifest(
        name="columns",
        engine="onnx",
        inputs=(Tensor("x", "FP32", (-1, width)),),
        outputs=(Tensor("y", "FP32", (-1, outputs)),),
        variants=(Variant("original", "model.onnx", 1),),
        max_batch=64,
        columns=tuple(f"c{at}" for at in range(width)),
    )


def baseline_of_columns(x: Array) -> Baseline:
    """The baseline of rows [n, width], its output, which is always 0, left out."""
    found = baseline_of(manifest_of_columns(x.shape[1]), split_rows({"x": x}, {"y": np.zeros((len(x), 1))}))
    return Baseline(rows=found.rows, statistics=found.statistics[: x.shape[1]])
