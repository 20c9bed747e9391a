"""Samples: what a user has lying around, as calls of one row each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from airserve.core.errors import AirserveError, InvalidInputError, NotFoundError
from airserve.models.manifest import Manifest, Tensor, Variant
from airserve.models.sample import read_calls


def manifest(*inputs: Tensor, max_batch: int = 8) -> Manifest:
    return Manifest(
        name="m",
        engine="onnx",
        inputs=inputs,
        outputs=(Tensor("y", "FP32", (-1, 2)),),
        variants=(Variant("original", "model.onnx", 1),),
        max_batch=max_batch,
    )


ROWS = manifest(Tensor("x", "FP32", (-1, 2)))
TEXTS = manifest(Tensor("text", "BYTES", (-1,)))


def test_an_array_is_cut_into_rows_of_the_model_s_datatype(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.arange(6).reshape(3, 2))
    calls = read_calls(tmp_path / "rows.npy", ROWS)
    assert [call["x"].tolist() for call in calls] == [[[0.0, 1.0]], [[2.0, 3.0]], [[4.0, 5.0]]]
    assert calls[0]["x"].dtype == np.float32


def test_several_inputs_come_by_their_names(tmp_path: Path) -> None:
    both = manifest(Tensor("a", "FP32", (-1, 1)), Tensor("b", "INT64", (-1,)))
    np.savez(tmp_path / "rows.npz", a=np.ones((2, 1)), b=np.arange(2))
    calls = read_calls(tmp_path / "rows.npz", both)
    assert [(call["a"].tolist(), call["b"].tolist()) for call in calls] == [([[1.0]], [0]), ([[1.0]], [1])]


def test_a_model_that_does_not_batch_is_called_with_each_array(tmp_path: Path) -> None:
    fixed = manifest(Tensor("x", "FP32", (3,)), max_batch=0)
    np.save(tmp_path / "many.npy", np.ones((5, 3)))
    np.save(tmp_path / "one.npy", np.ones(3))
    assert [call["x"].shape for call in read_calls(tmp_path / "many.npy", fixed)] == [(3,)] * 5
    assert [call["x"].shape for call in read_calls(tmp_path / "one.npy", fixed)] == [(3,)]


def test_texts_are_the_lines_that_are_not_empty(tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text("pay the bill\n\n  \nthe cat\n")
    assert [call["text"].tolist() for call in read_calls(tmp_path / "lines.txt", TEXTS)] == [
        [b"pay the bill"],
        [b"the cat"],
    ]


def test_of_a_large_sample_rows_are_taken_from_all_over_it(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.arange(2000).reshape(1000, 2))
    taken = [call["x"][0, 0] for call in read_calls(tmp_path / "rows.npy", ROWS, most=10)]
    assert taken == list(range(0, 2000, 200))


def test_pictures_are_the_files_below_a_folder(tmp_path: Path) -> None:
    (tmp_path / "cats").mkdir()
    (tmp_path / "cats" / "b.JPG").write_bytes(b"second")
    (tmp_path / "a.png").write_bytes(b"first")
    (tmp_path / "notes.txt").write_text("no picture")
    assert [call["text"][0] for call in read_calls(tmp_path, TEXTS)] == [b"first", b"second"]


@pytest.mark.parametrize(
    ("name", "content", "model", "kind", "sentence"),
    [
        ("gone.npy", None, ROWS, NotFoundError, "does not exist"),
        ("rows.npy", np.ones((2, 3)), ROWS, InvalidInputError, "a row of the sample is [1, 3]"),
        ("rows.npy", np.float32(1), ROWS, InvalidInputError, "[0] rows"),
        ("rows.npy", np.array([{"a": 1}], dtype=object), ROWS, InvalidInputError, "no NumPy file without pickles"),
        ("rows.npz", b"PK no zip", ROWS, InvalidInputError, "no NumPy file without pickles"),
        ("lines.txt", b"one", ROWS, InvalidInputError, "the model takes arrays"),
        ("lines.txt", b"\n\n", TEXTS, InvalidInputError, "is empty"),
        ("lines.txt", b"\xff\xfe", TEXTS, InvalidInputError, "is no UTF-8 text"),
        ("rows.npy", np.ones((2, 2)), TEXTS, InvalidInputError, "is BYTES; give a folder of pictures or a .txt"),
    ],
)
def test_what_the_model_cannot_be_measured_on_is_refused(
    tmp_path: Path, name: str, content: Any, model: Manifest, kind: type[AirserveError], sentence: str
) -> None:
    if isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    elif content is not None:
        np.save(tmp_path / name, content, allow_pickle=True)
    with pytest.raises(kind) as refusal:
        read_calls(tmp_path / name, model)
    assert sentence in refusal.value.message


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="has no pictures"):
        read_calls(tmp_path, TEXTS)
