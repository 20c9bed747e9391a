from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from airserve.core.call import Tensors
from airserve.core.errors import ModelFailedError
from airserve.models.optimise.teaching import Lesson
from airserve.models.optimise.torch_training import train

ROWS = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
TRUTH = np.array([[0.2], [-0.4], [0.1]], np.float32)
LESSON = Lesson({"x": ROWS}, ROWS @ TRUTH, None, np.ones(1, np.float32), classifies=False, probable=False)


def line(weight: Any) -> Any:
    def student(inputs: Tensors) -> Any:
        return torch.from_numpy(inputs["x"]) @ weight

    return student


def test_a_line_is_found_and_training_leaves_the_threads_as_they_were() -> None:
    weight = torch.zeros(3, 1, requires_grad=True)
    before = torch.get_num_threads()
    loss = train(line(weight), [weight], LESSON)
    assert torch.get_num_threads() == before
    assert loss < 0.1 * float(np.square(LESSON.answers).mean())
    assert np.sign(weight.detach().numpy()).tolist() == np.sign(TRUTH).tolist()


def test_what_was_perfect_stays_as_it_was() -> None:
    weight = torch.from_numpy(TRUTH.copy()).requires_grad_()
    assert train(line(weight), [weight], LESSON) == pytest.approx(0, abs=1e-9)
    np.testing.assert_allclose(weight.detach().numpy(), TRUTH, atol=1e-3)


def test_values_that_are_no_numbers_end_it_with_a_sentence() -> None:
    weight = torch.full((3, 1), torch.nan, requires_grad=True)
    with pytest.raises(ModelFailedError, match="no numbers"):
        train(line(weight), [weight], LESSON)
