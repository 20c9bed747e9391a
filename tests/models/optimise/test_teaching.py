from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from airserve.core.errors import InvalidInputError
from airserve.models.optimise.method import Training
from airserve.models.optimise.teaching import TEMPERATURE, Lesson, divided, lesson, soft, torch_loss
from tests.models.optimise import learners

ONES = np.ones(3, np.float32)
LOGITS = np.array([[2.0, 0.0, -1.0], [0.0, 3.0, 1.0]], np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("learners")


def classes(labels: list[int] | None, *, probable: bool) -> Lesson:
    known = None if labels is None else np.array(labels, np.int64)
    return Lesson({"x": LOGITS}, LOGITS, known, ONES, classifies=True, probable=probable)


def test_a_lesson_says_what_kind_of_answers_they_are(folder: Path) -> None:
    whole = lesson(learners.dense(folder / "dense"))
    assert (whole.classifies, whole.probable, len(whole)) == (True, True, 1300)
    assert whole.labels is not None
    np.testing.assert_allclose(soft(whole.answers, 1.0).sum(1), 1, atol=1e-5)
    assert lesson(learners.dense(folder / "dense", labelled=False)).labels is None
    scores = lesson(learners.convolutional(folder / "conv"))
    assert (scores.classifies, scores.probable) == (True, False)
    values = lesson(learners.values(folder / "values"))
    assert (values.classifies, values.answers.shape[1], values.labels) == (False, 1, None)


def test_answers_that_are_no_numbers_teach_nothing(folder: Path) -> None:
    original = learners.dense(folder / "dense")
    rows = np.full((30, 64), np.nan, np.float32)
    with pytest.raises(InvalidInputError, match="finite"):
        lesson(dataclasses.replace(original, training=Training({"x": rows}, None)))


def test_some_rows_are_held_back_and_none_is_in_both_parts(folder: Path) -> None:
    whole = lesson(learners.dense(folder / "dense"))
    numbered = dataclasses.replace(whole, inputs={"x": np.arange(len(whole), dtype=np.float32)})
    learned, held = divided(numbered)
    assert sorted([*learned.inputs["x"], *held.inputs["x"]]) == list(range(1300))
    assert len(held) == 195


def test_the_loss_is_nothing_where_the_student_says_the_same_and_grows_with_what_differs() -> None:
    of = classes(None, probable=False)
    assert float(torch_loss(torch.from_numpy(LOGITS), of)) == pytest.approx(0, abs=1e-6)
    shifted = torch.from_numpy(LOGITS + 5)
    assert float(torch_loss(shifted, of)) == pytest.approx(0, abs=1e-5)
    near, far = (torch_loss(torch.from_numpy(LOGITS * by), of) for by in (1.1, 2.0))
    assert 0 < near < far


def test_probabilities_are_held_to_the_same_as_their_logits() -> None:
    others = LOGITS[::-1].copy()
    told = torch.softmax(torch.from_numpy(others), dim=1)
    for labels in (None, [0, 1]):
        as_probabilities = torch_loss(told, classes(labels, probable=True))
        as_logits = torch_loss(torch.from_numpy(others), classes(labels, probable=False))
        assert float(as_probabilities) == pytest.approx(float(as_logits), rel=1e-4)


def test_labels_count_half() -> None:
    right, wrong = (
        float(torch_loss(torch.from_numpy(LOGITS), classes(each, probable=False))) for each in ([0, 1], [2, 0])
    )
    hard = -np.log(soft(LOGITS, 1.0)[[0, 1], [0, 1]]).mean()
    assert right == pytest.approx(0.5 * hard, rel=1e-4)
    assert wrong > right


def test_a_higher_temperature_makes_answers_more_alike() -> None:
    assert soft(LOGITS, TEMPERATURE).max() < soft(LOGITS, 1.0).max()


def test_values_are_weighed_by_how_much_they_vary() -> None:
    answers = np.array([[1.0, 100.0], [3.0, 300.0]], np.float32)
    of = Lesson({}, answers, None, np.array([1.0, 1e4], np.float32), classifies=False, probable=False)
    one, other = (torch_loss(torch.from_numpy(answers + np.float32(step)), of) for step in ([[1, 0]], [[0, 100]]))
    assert float(one) == pytest.approx(float(other)) == pytest.approx(0.5)
