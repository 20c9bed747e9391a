from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as np_st

from airserve.core.call import Array, Tensors
from airserve.core.errors import BadPackageError, ModelFailedError
from airserve.core.tensor import Signature, TensorSpec
from airserve.engines.cascade import CascadeModel, confidence_of_best, confidence_of_scores
from airserve.engines.labels import softmax

CLASSES = 3


class Scorer:
    """A model with an answer for each row, that notes how many rows it was asked for."""

    def __init__(self, answer: Callable[[Array], Tensors], max_batch: int = 8) -> None:
        rows = -1 if max_batch else 1
        spec = TensorSpec("y", "FP32", (rows, CLASSES))
        self.signature = Signature((TensorSpec("x", "FP32", (rows, CLASSES)),), (spec,), max_batch)
        self.rows: list[int] = []
        self.closed = False
        self._answer = answer

    def run(self, inputs: Tensors) -> Tensors:
        self.rows.append(len(inputs["x"]))
        return self._answer(inputs["x"])

    def example(self, rows: int) -> Tensors:
        return {"x": np.zeros((rows, CLASSES), np.float32)}

    def close(self) -> None:
        self.closed = True


def same(x: Array) -> Tensors:
    return {"y": x.copy()}


def ten_more(x: Array) -> Tensors:
    return {"y": x + 10}


def cascade(small: Scorer, full: Scorer, threshold: float = 0.9) -> CascadeModel:
    return CascadeModel(small, full, threshold=threshold, temperature=1.0, classes=CLASSES)


SURE, UNSURE = [9.0, 0.0, 0.0], [1.0, 1.0, 0.9]


def rows(*values: list[float]) -> Tensors:
    return {"x": np.array(values, np.float32)}


def test_the_full_variant_runs_on_the_rows_alone_of_which_the_small_one_is_unsure() -> None:
    small, full = Scorer(same), Scorer(ten_more)
    inputs = rows(SURE, UNSURE, SURE, UNSURE)
    outputs = cascade(small, full).run(inputs)
    assert (small.rows, full.rows) == ([4], [2])
    assert (outputs["y"] == inputs["x"] + np.array([[0], [10], [0], [10]], np.float32)).all()


def test_a_variant_that_is_not_needed_does_not_run() -> None:
    small, full = Scorer(same), Scorer(ten_more)
    assert (cascade(small, full).run(rows(SURE, SURE))["y"] == [SURE, SURE]).all()
    assert full.rows == []


def test_a_model_that_does_not_batch_is_run_as_a_whole() -> None:
    small, full = Scorer(same, max_batch=0), Scorer(ten_more, max_batch=0)
    inputs = rows(UNSURE)
    assert (cascade(small, full).run(inputs)["y"] == inputs["x"] + 10).all()


def test_every_row_is_wholly_of_one_variant_whichever_rows_come_together() -> None:
    inputs = np.random.default_rng(3).normal(scale=3, size=(40, CLASSES)).astype(np.float32)
    together = cascade(Scorer(same, 64), Scorer(ten_more, 64)).run({"x": inputs})["y"]
    alone = [cascade(Scorer(same), Scorer(ten_more)).run({"x": row[None]})["y"][0] for row in inputs]
    assert (together == np.array(alone)).all()
    assert 0 < (together == inputs).all(1).sum() < len(inputs)


def test_outputs_that_do_not_fit_together_and_models_without_classes_are_refused() -> None:
    def wider(x: Array) -> Tensors:
        return {"y": np.zeros((len(x), CLASSES + 1), np.float32)}

    with pytest.raises(ModelFailedError, match="not of one shape"):
        cascade(Scorer(same), Scorer(wider)).run(rows(SURE, UNSURE))
    with pytest.raises(ModelFailedError, match="3 scores a row"):
        cascade(Scorer(wider), Scorer(same)).run(rows(SURE))
    with pytest.raises(BadPackageError, match="needs a classifier"):
        CascadeModel(Scorer(same), Scorer(same), threshold=0.5, temperature=1, classes=0)


def test_closing_it_leaves_its_variants_to_whoever_else_uses_them() -> None:
    small, full = Scorer(same), Scorer(ten_more)
    cascade(small, full).close()
    assert not small.closed and not full.closed


scores = np_st.arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(2, 8)), elements=st.floats(-20, 20))
temperatures = st.floats(0.1, 10)


@given(scores, temperatures)
def test_confidence_is_the_highest_probability_of_the_tempered_scores(scores: Array, temperature: float) -> None:
    expected = softmax(scores / temperature).max(1)
    assert np.allclose(confidence_of_scores(scores, temperature), expected)


@given(scores, temperatures)
def test_probabilities_count_as_the_scores_that_they_are_of(scores: Array, temperature: float) -> None:
    of_scores, of_probabilities = (confidence_of_scores(each, temperature) for each in (scores, softmax(scores)))
    assert np.allclose(of_scores, of_probabilities, atol=1e-4)


@given(scores, temperatures)
def test_of_the_best_classes_it_is_exact_when_all_are_there_or_the_temperature_is_one(
    scores: Array, temperature: float
) -> None:
    best = -np.sort(-softmax(scores), axis=1)
    assert np.allclose(confidence_of_best(best, temperature), confidence_of_scores(scores, temperature), atol=1e-4)
    assert np.allclose(confidence_of_best(best[:, :1], 1.0), best[:, 0], atol=1e-5)
    assert (
        (confidence_of_best(best[:, :1], temperature) >= 0) & (confidence_of_best(best[:, :1], temperature) <= 1)
    ).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_not_sure(bad: float) -> None:
    assert confidence_of_scores(np.array([[bad, 1.0, 2.0]]), 1.0) == [0.0]
    assert confidence_of_best(np.array([[np.nan, 0.1]]), 1.0) == [0.0]
