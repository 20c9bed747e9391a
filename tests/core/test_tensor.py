from __future__ import annotations

import pytest

from airserve.core.errors import InvalidInputError
from airserve.core.tensor import element_count


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ([1 << 62] * 1_000_000, "1000000 axes; at most 64"),
        ([1] * 65, "65 axes"),
        ([-1] + [1] * 60, "negative"),
        ([1 << 62, 4], "exceed"),
        ([0, 1 << 62], "exceed"),
    ],
)
def test_a_hostile_shape_is_refused_in_a_short_sentence_before_it_is_multiplied(shape: list[int], words: str) -> None:
    with pytest.raises(InvalidInputError, match=words) as refused:
        element_count(shape, "x" * 1000)
    assert len(refused.value.message) < 400


def test_the_elements_of_a_shape() -> None:
    assert [element_count(shape, "x") for shape in ([], [3, 4], [0, 4], [1] * 64)] == [1, 12, 0, 1]
