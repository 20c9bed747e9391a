from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as shapes

from airserve.core.call import Array
from airserve.core.errors import InvalidInputError
from airserve.core.tensor import NUMPY_OF
from airserve.engines.shared_tensors import Placed, Segment

NUMBERS = [dtype for name, dtype in NUMPY_OF.items() if name != "BYTES"]
STRINGS = shapes.arrays(
    object, shapes.array_shapes(min_side=0, max_side=4), elements=st.binary(max_size=9), fill=st.nothing()
)
ARRAYS = st.one_of(
    STRINGS, st.sampled_from(NUMBERS).flatmap(lambda dtype: shapes.arrays(dtype, shapes.array_shapes(min_side=0)))
)


@pytest.fixture
def ends() -> Iterator[tuple[Segment, Segment]]:
    """The writer's end and the reader's, as two processes have them."""
    writer = Segment.create("test")
    reader = Segment(os.dup(writer.fd))
    yield writer, reader
    writer.close()
    reader.close()


@given(st.lists(st.dictionaries(st.text(max_size=5), ARRAYS, max_size=4), max_size=3))
def test_what_is_read_is_what_was_written_batch_after_batch(batches: list[dict[str, Array]]) -> None:
    writer = Segment.create("test")
    reader = Segment(os.dup(writer.fd))
    for batch in batches:
        read = reader.read(writer.write(batch), copy=True)
        assert list(read) == list(batch)
        for name, array in batch.items():
            assert (read[name].dtype, read[name].shape) == (array.dtype, array.shape)
            assert read[name].tobytes() == array.tobytes() if array.dtype != object else (read[name] == array).all()
    writer.close()
    reader.close()


def test_views_are_of_the_memory_itself_and_outlive_its_growth(ends: tuple[Segment, Segment]) -> None:
    writer, reader = ends
    view = reader.read(writer.write({"x": np.ones(4)}), copy=False)["x"]
    large = reader.read(writer.write({"x": np.full(1 << 20, 2.0)}), copy=False)["x"]
    assert view.tolist() == [2.0] * 4
    assert large.sum() == 2 << 20


@pytest.mark.parametrize(
    "place",
    [
        Placed("x", "FP32", (1,), 1 << 40, 4),
        Placed("x", "FP32", (1,), -4, 4),
        Placed("x", "FP32", (2,), 0, 4),
        Placed("x", "FP32", (1 << 40,), 0, 4),
        Placed("x", "FP99", (1,), 0, 4),
        Placed("x", "BYTES", (3,), 0, 4),
        Placed("x", "FP32", (1,), 8, -4),
    ],
)
def test_a_place_that_lies_is_refused(ends: tuple[Segment, Segment], place: Placed) -> None:
    writer, reader = ends
    writer.write({"x": np.ones(1, np.float32)})
    with pytest.raises(InvalidInputError):
        reader.read([place], copy=True)


def test_nobody_can_cut_the_memory_off_under_a_reader(ends: tuple[Segment, Segment]) -> None:
    writer, reader = ends
    writer.write({"x": np.ones(1)})
    with pytest.raises(PermissionError):
        os.ftruncate(reader.fd, 0)
