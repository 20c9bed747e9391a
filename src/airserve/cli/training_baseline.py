"""The baseline of a model that was just trained: how the rows looked that it learnt from."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from airserve.core.call import Array
from airserve.models.baseline import BASELINE_NAME, LEAST_ROWS, MOST_ROWS, baseline_of, render_baseline, split_rows
from airserve.models.manifest import Manifest


def training_baseline(manifest: Manifest, x: Array, predict: Callable[[Array], Array]) -> dict[str, bytes]:
    """The file for the package, by its name; none where `x` has too few rows to say how inputs look.

    `x` is [rows, columns], as callers will send them; `predict` gives the model's first output for such rows.
    """
    if len(x) < LEAST_ROWS:
        return {}
    if len(x) > MOST_ROWS:
        x = x[np.linspace(0, len(x) - 1, MOST_ROWS).astype(np.int64)]
    inputs, outputs = {manifest.inputs[0].name: x}, {manifest.outputs[0].name: predict(x)}
    return {BASELINE_NAME: render_baseline(baseline_of(manifest, split_rows(inputs, outputs)))}
