from __future__ import annotations

import ctypes

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from airserve.core.errors import InvalidInputError
from airserve.core.tensor import TensorSpec
from airserve.protocols.open_inference.classification import MAX_CLASSES, check_classes, classify


def one(values: list[float], dtype: str, classes: int, labels: tuple[str, ...] = ()) -> list[str]:
    found = classify(np.array([values], dtype), classes, labels, name="y", batched=True)
    return [each.decode() for each in found[0]]


def test_the_text_is_value_index_and_label() -> None:
    assert one([1, 3, 2], "f4", 2) == ["3.000000:1", "2.000000:2"]
    assert one([1, 3, 2], "f4", 2, ("ant", "bee", "cat")) == ["3.000000:1:bee", "2.000000:2:cat"]
    assert one([0.1, 1e-9, 123456.789], "f8", 3) == ["123456.789000:2", "0.100000:0", "0.000000:1"]
    assert one([1, -3, 2], "i4", 3) == ["2:2", "1:0", "-3:1"]
    assert one([2**64 - 1, 0], "u8", 1) == [f"{2**64 - 1}:0"]
    assert one([10, 20], "f2", 1) == ["20.000000:1"]


def test_labels_that_do_not_match_the_values_are_left_out() -> None:
    assert one([1, 3, 2], "f4", 1, ("ant", "bee")) == ["3.000000:1"]
    assert one([1, 3, 2], "f4", 1, ("ant", "", "cat")) == ["3.000000:1"]


def test_of_equals_the_first_comes_first_and_what_is_no_number_last() -> None:
    assert one([5, 7, 7, 5], "i8", 4) == ["7:1", "7:2", "5:0", "5:3"]
    assert one([np.nan, -np.inf, np.inf], "f4", 3) == ["inf:2", "nan:0", "-inf:1"]


def test_shapes_keep_the_batch_and_flatten_the_rest() -> None:
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    assert classify(array, 5, (), name="y", batched=True).shape == (2, 5)
    assert classify(array, 50, (), name="y", batched=True).shape == (2, 12)
    alone = classify(array, 2, (), name="y", batched=False)
    assert alone.tolist() == [b"23.000000:23", b"22.000000:22"]
    assert classify(np.float32(3), 2, (), name="y", batched=False).tolist() == [b"3.000000:0"]
    assert classify(np.zeros((2, 0), np.float32), 3, (), name="y", batched=True).shape == (2, 0)


def test_what_has_no_classes_is_refused_before_it_is_computed() -> None:
    scores = TensorSpec("y", "FP32", (-1, 10))
    assert check_classes("m", scores, 3, batched=True) == 3
    assert check_classes("m", scores, 0, batched=True) == 0
    for bad in (-1, 1.5, True, "3", None):
        with pytest.raises(InvalidInputError, match="number of classes"):
            check_classes("m", scores, bad, batched=True)
    for datatype in ("BYTES", "BOOL"):
        with pytest.raises(InvalidInputError, match=r"class result not available .* unsupported type"):
            check_classes("m", TensorSpec("y", datatype, (-1, 10)), 1, batched=True)
    many = TensorSpec("y", "FP32", (-1, MAX_CLASSES + 1))
    with pytest.raises(InvalidInputError, match="more than 1000000 values"):
        check_classes("m", many, 1, batched=True)
    with pytest.raises(InvalidInputError, match="more than 1000000 values"):
        classify(np.zeros(MAX_CLASSES + 1, np.int8), 1, (), name="y", batched=False)


@given(
    hnp.arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(1, 20)), elements=st.floats(width=32)),
    st.integers(1, 25),
)
def test_classes_are_the_highest_values_in_falling_order(array: np.ndarray, classes: int) -> None:
    found = classify(array, classes, (), name="y", batched=True)
    for values, row in zip(np.where(np.isnan(array), -np.inf, array), found, strict=True):
        indices = [int(text.split(b":")[1]) for text in row]
        assert len(set(indices)) == min(classes, len(values))
        assert [values[index] for index in indices] == sorted(values, reverse=True)[:classes]


@given(st.floats(width=32, allow_nan=False))
def test_numbers_are_written_as_the_c_library_does(value: float) -> None:
    buffer = ctypes.create_string_buffer(400)
    ctypes.CDLL(None).snprintf(buffer, ctypes.c_size_t(400), b"%f", ctypes.c_double(value))
    assert one([value], "f4", 1) == [buffer.value.decode() + ":0"]
