"""Cascades are chosen on one part of the sample, keep what they promise there, and answer as the served one does."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpies

from airserve.engines.cascade import CascadeModel, confidence_of_scores
from airserve.engines.onnx import OnnxModel
from airserve.engines.session import Session
from airserve.models.manifest import Manifest, Tensor, Variant
from airserve.models.optimise.cascades import Member, cheapest, choose_threshold, fit, fit_temperature, merged
from tests.models_for_tests import save_wide

MANIFEST = Manifest(
    name="m",
    engine="onnx",
    inputs=(Tensor("x", "FP32", (-1, 4)),),
    outputs=(Tensor("y", "FP32", (-1, 4)),),
    variants=(Variant("original", "model.onnx", 1),),
    max_batch=8,
    labels=("a", "b", "c", "d"),
)
ROWS = 600


def scored(correct: np.ndarray, truth: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """Logits whose best class is the truth where `correct`, by a margin of `strength`."""
    answers = np.where(correct, truth, (truth + 1) % 4)
    return (np.eye(4)[answers] * strength[:, None]).astype(np.float32)


@pytest.fixture
def parts() -> tuple[Member, Member, np.ndarray]:
    """A small variant that is right where it is sure, a full one that nearly always is, and the truth."""
    random = np.random.default_rng(0)
    truth = random.integers(0, 4, ROWS)
    strength = random.uniform(0, 6, ROWS)
    small = scored(random.random(ROWS) < 0.5 + strength / 12, truth, strength)
    full = scored(random.random(ROWS) < 0.97, truth, np.full(ROWS, 5.0))
    return Member("small", {"y": small}, 1.0), Member("full", {"y": full}, 4.0), truth


rows_of_hits = st.integers(1, 80).flatmap(
    lambda rows: st.tuples(
        numpies.arrays(np.float64, rows, elements=st.sampled_from([0.2, 0.4, 0.6, 0.8, 0.99])),
        numpies.arrays(bool, rows),
        numpies.arrays(bool, rows),
        st.floats(0, 0.3),
    )
)


@given(rows_of_hits)
def test_a_threshold_loses_no_more_than_allowed_and_no_lower_one_of_the_sample_would(
    drawn: tuple[np.ndarray, np.ndarray, np.ndarray, float],
) -> None:
    sure, right, right_full, most = drawn

    def loss(threshold: float) -> float:
        return float(np.mean(right_full) - np.mean(np.where(sure >= threshold, right, right_full)))

    threshold = choose_threshold(sure, right, right_full, most)
    lower = [each for each in np.unique(sure) if threshold is None or each < threshold]
    assert all(loss(each) > most for each in lower)
    assert threshold is None or loss(threshold) <= most + 1e-9


def test_the_temperature_of_a_network_that_is_too_sure_is_above_one() -> None:
    random = np.random.default_rng(1)
    logits = random.normal(0, 1.5, (4000, 4))
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    truth = (probabilities.cumsum(1) < random.random((4000, 1))).sum(1)
    right = logits.argmax(1) == truth
    too_sure = {"y": (3 * logits).astype(np.float32)}
    temperature = fit_temperature(MANIFEST, too_sure, right)
    assert temperature == pytest.approx(3.0, rel=0.15)
    # Now the confidence is how often it is right.
    assert confidence_of_scores(too_sure["y"], temperature).mean() == pytest.approx(right.mean(), abs=0.02)


def test_a_cascade_saves_time_within_the_drop_and_has_a_curve(parts: tuple[Member, Member, np.ndarray]) -> None:
    small, full, truth = parts
    found = fit(MANIFEST, small, full, 300, truth, most_drop=0.01)
    assert found is not None and 0.1 < found.cascade.share < 1.0
    assert found.ms < full.ms
    costs = [point.ms for point in found.curve]
    assert costs == sorted(costs, reverse=True) and costs[0] == small.ms + full.ms
    assert found.curve[0].accuracy > found.curve[-1].accuracy + 0.1
    generous = fit(MANIFEST, small, full, 300, truth, most_drop=0.1)
    assert generous is not None and generous.cascade.share > found.cascade.share
    assert cheapest([found, generous]) is generous


def test_where_the_small_one_may_answer_everything_there_is_no_cascade(
    parts: tuple[Member, Member, np.ndarray],
) -> None:
    small, full, truth = parts
    assert fit(MANIFEST, small, full, 300, truth, most_drop=1.0) is None
    assert fit(MANIFEST, full, full, 300, truth, most_drop=0.0) is None


def test_the_measured_answers_are_those_that_the_served_cascade_gives(tmp_path: Path) -> None:
    save_wide(tmp_path / "small.onnx", 4, 2.0), save_wide(tmp_path / "full.onnx", 4, 3.0)
    small, full = (
        OnnxModel(Session(tmp_path / f"{name}.onnx", threads=1), MANIFEST.signature) for name in ("small", "full")
    )
    x = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    answers = [each.run({"x": x}) for each in (small, full)]
    cascade = CascadeModel(small, full, threshold=0.9, temperature=0.5, classes=4)
    expected = merged(answers[0], answers[1], cascade.sure(answers[0]))
    assert 0 < cascade.sure(answers[0]).sum() < 60
    assert np.array_equal(cascade.run({"x": x})["y"], expected["y"])


def test_a_manifest_takes_the_cascade_that_was_fitted(parts: tuple[Member, Member, np.ndarray]) -> None:
    found = fit(MANIFEST, *parts[:2], 300, parts[2], most_drop=0.02)
    assert found is not None
    assert msgspec.json.decode(msgspec.json.encode(found.cascade), type=type(found.cascade)) == found.cascade
