"""Answers that tell less of the model: only the largest values, rounded. It slows who copies a model by asking it.

Rate limits alone do not (Tramèr et al., "Stealing Machine Learning Models via Prediction APIs", USENIX Security 2016):
each value in full precision is an equation in the model's weights. Rounding and top-k take most of it away, and no
more than that: a patient client still learns the labels.
"""

from __future__ import annotations

import numpy as np

from airserve.accounts.terms import Hardening
from airserve.core.call import Array, Tensors


def harden(outputs: Tensors, hardening: Hardening) -> Tensors:
    """`outputs` as a plan with this hardening gives them; the same object where it asks for nothing.

    Only floats are changed. Along the last axis the `top_k` largest values stay, and the rest is 0; of equal values the
    first ones stay. A tensor of no or one axis has no classes to choose from, and is only rounded. Shapes and dtypes
    are as before; the arrays that were given are never written to, since other calls may share their memory.
    """
    if hardening.top_k is None and hardening.decimals is None:
        return outputs
    return {name: _hardened(array, hardening) if array.dtype.kind == "f" else array for name, array in outputs.items()}


def _hardened(array: Array, hardening: Hardening) -> Array:
    k = hardening.top_k
    if k is not None and array.ndim > 1 and array.shape[-1] > k:
        order = np.argsort(-array, axis=-1, kind="stable")[..., :k]
        kept = np.zeros_like(array)
        np.put_along_axis(kept, order, np.take_along_axis(array, order, axis=-1), axis=-1)
        array = kept
    if hardening.decimals is not None:
        # Half precision has no 10^n for more than 4 decimals, so it is rounded in double.
        array = np.round(array.astype(np.float64), hardening.decimals).astype(array.dtype)
    return array
