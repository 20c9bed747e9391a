"""A variant's accuracy: against labels, or against the original's answers; and what of it is lost."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from airserve.models.manifest import Manifest, Tensor, Variant
from airserve.models.optimise.accuracy import accuracy, classes

ROWS = 200
RANDOM = np.random.default_rng(0)
MANIFEST = Manifest(
    name="m",
    engine="onnx",
    inputs=(Tensor("x", "FP32", (-1, 4)),),
    outputs=(Tensor("y", "FP32", (-1, 3)),),
    variants=(Variant("original", "model.onnx", 1),),
    max_batch=8,
)
CLASSIFIER = msgspec.structs.replace(MANIFEST, labels=("a", "b", "c"))
SCORES = RANDOM.normal(size=(ROWS, 3)).astype(np.float32)


def with_wrong(rows: int) -> np.ndarray:
    """The scores with another best class in the first rows."""
    found = SCORES.copy()
    found[:rows] = np.roll(found[:rows], 1, axis=1)
    return found


def test_a_classifier_is_held_to_its_best_class() -> None:
    found = accuracy(CLASSIFIER, {"y": SCORES}, {"y": with_wrong(10)}, None)
    assert (found.metric, found.value, found.rows) == ("top-1 agreement", 0.95, ROWS)
    assert found.low < 0.95 < found.high
    assert (found.loss, found.loss_low) == pytest.approx((0.05, 1 - found.high))


def test_labels_make_it_the_true_accuracy_and_the_loss_is_of_pairs() -> None:
    truth = SCORES.argmax(1)
    truth[-20:] = (truth[-20:] + 1) % 3
    exact = accuracy(CLASSIFIER, {"y": SCORES}, {"y": SCORES}, truth)
    assert (exact.metric, exact.value, exact.loss) == ("top-1", 0.9, 0.0)
    found = accuracy(CLASSIFIER, {"y": SCORES}, {"y": with_wrong(10)}, truth)
    assert (found.value, found.loss) == pytest.approx((0.85, 0.05))
    # Narrower than what two intervals of their own would leave open.
    assert found.loss_high - found.loss_low < (found.high - found.low) / 1.2


def test_a_variant_may_be_better_than_the_original() -> None:
    found = accuracy(CLASSIFIER, {"y": SCORES}, {"y": with_wrong(10)}, with_wrong(10).argmax(1))
    assert found.loss < 0 < found.value == 1.0


def test_other_models_are_held_to_the_values_of_their_worst_output() -> None:
    exact = {"y": SCORES, "z": np.ones((ROWS, 2), np.float32)}
    found = accuracy(MANIFEST, exact, {"y": SCORES, "z": exact["z"] * np.float32(0.9)}, None)
    assert (found.metric, found.value) == ("1 - relative error", pytest.approx(0.9))
    assert found.low == pytest.approx(found.high)


def test_answers_of_another_shape_agree_in_nothing() -> None:
    assert accuracy(MANIFEST, {"y": SCORES}, {"y": SCORES[:, :2]}, None).value == 0.0


def test_only_a_classifier_has_classes() -> None:
    assert classes(MANIFEST, {"y": SCORES}) is None
    assert np.array_equal(classes(CLASSIFIER, {"y": SCORES}), SCORES.argmax(1))
