"""How accurate a variant is, and how sure that is: against the labels of a sample, or against the original's answers.

With labels the metric is "top-1". Without, it is the agreement that codecs are measured by (`codec_accuracy.py`): the
best class, the direction of an embedding, or the values of the worst output.
"""

from __future__ import annotations

import numpy as np

from airserve.core.call import Array, Tensors
from airserve.models.codec_accuracy import COSINE, TOP_1, best_classes, deciding_output, metric_of
from airserve.models.manifest import Manifest
from airserve.models.optimise.family import Accuracy
from airserve.models.optimise.intervals import bootstrap, paired_difference, wilson

TRUE_TOP_1 = "top-1"


def accuracy(manifest: Manifest, exact: Tensors, found: Tensors, truth: Array | None) -> Accuracy:
    """Of answers of all rows, `found`, where the original's are `exact`. `truth` are class indices, int64 [rows]."""
    if truth is not None:
        return _labelled(manifest, exact, found, truth)
    name = deciding_output(manifest, exact)
    each = [_agreement(manifest, output, exact, found) for output in ([name] if name is not None else list(exact))]
    return min(each, key=lambda one: one.value)


def classes(manifest: Manifest, answers: Tensors) -> Array | None:
    """The best class of each row, int64; None for a model that is no classifier."""
    name = deciding_output(manifest, answers)
    if name is None or metric_of(manifest, name, answers[name]) != TOP_1:
        return None
    return np.asarray(best_classes(answers[name]), np.int64)


def _labelled(manifest: Manifest, exact: Tensors, found: Tensors, truth: Array) -> Accuracy:
    before, after = classes(manifest, exact), classes(manifest, found)
    assert before is not None and after is not None, "labels are for classifiers, which was checked"  # noqa: S101
    right_before, right = before == truth, after == truth
    hits, rows = int(right.sum()), len(truth)
    lost = float(np.mean(right_before) - np.mean(right))
    return Accuracy(TRUE_TOP_1, hits / rows, *wilson(hits, rows), rows, lost, *paired_difference(right_before, right))


def _agreement(manifest: Manifest, name: str, exact: Tensors, found: Tensors) -> Accuracy:
    wanted, got = exact[name], found[name]
    metric, rows = metric_of(manifest, name, wanted), len(wanted)
    if wanted.shape != got.shape:
        return Accuracy(metric, 0.0, 0.0, 0.0, rows, 1.0, 1.0, 1.0)
    if metric == TOP_1 or wanted.dtype.kind not in "fiu":
        same = (
            best_classes(got) == best_classes(wanted) if metric == TOP_1 else (got == wanted).reshape(rows, -1).all(1)
        )
        hits = int(np.sum(same))
        value, (low, high) = hits / rows, wilson(hits, rows)
    else:
        value, low, high = _of_values(metric, wanted.astype(np.float64), got.astype(np.float64))
    return Accuracy(metric, value, low, high, rows, 1 - value, 1 - high, 1 - low)


def _of_values(metric: str, wanted: Array, got: Array) -> tuple[float, float, float]:
    rows = len(wanted)
    if metric == COSINE:
        lengths = np.linalg.norm(got, axis=-1) * np.linalg.norm(wanted, axis=-1)
        each = ((got * wanted).sum(-1) / np.where(lengths > 0, lengths, 1.0)).reshape(rows, -1).mean(1)
        return float(each.mean()), *bootstrap(rows, lambda weights: weights @ each / rows)
    error = np.abs(got - wanted).reshape(rows, -1).sum(1)
    scale = np.abs(wanted).reshape(rows, -1).sum(1)

    def statistic(weights: Array) -> Array:
        # As the agreement of codecs is defined: nothing where all is zero but the answers are not.
        errors, scales = weights @ error, weights @ scale
        share: Array = np.divide(errors, scales, out=np.where(errors > 0, 1.0, 0.0), where=scales > 0)
        return np.asarray(np.maximum(0.0, 1.0 - share))

    return float(statistic(np.ones((1, rows)))[0]), *bootstrap(rows, statistic)
