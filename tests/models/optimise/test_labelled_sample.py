"""The sample in two parts, its labels, and the training set."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image

from airserve.core.errors import AirserveError
from airserve.engines.options import Vision
from airserve.models.manifest import Manifest, Tensor, Variant
from airserve.models.optimise.labelled_sample import read_labelled, read_labels, read_training

MANIFEST = Manifest(
    name="m",
    engine="onnx",
    inputs=(Tensor("x", "FP32", (-1, 2)),),
    outputs=(Tensor("y", "FP32", (-1, 3)),),
    variants=(Variant("original", "model.onnx", 1),),
    max_batch=8,
    labels=("cat", "dog", "7"),
)
PICTURES = msgspec.structs.replace(MANIFEST, inputs=(Tensor("image", "BYTES", (-1,)),), vision=Vision(size=8, resize=8))


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    np.save(tmp_path / "rows.npy", np.repeat(np.arange(90, dtype=np.float32)[:, None], 2, axis=1))
    return tmp_path / "rows.npy"


def test_a_third_calibrates_and_every_row_is_in_one_part_with_its_label(rows: Path) -> None:
    labels = rows.with_name("labels.npy")
    np.save(labels, np.arange(90) % 3)
    sample = read_labelled(rows, MANIFEST, labels)
    assert (len(sample.calibration), len(sample.calls)) == (30, 60)
    first, rest = ([int(call["x"][0, 0]) for call in calls] for calls in (sample.calibration, sample.calls))
    assert sorted([*first, *rest]) == list(range(90))
    assert sample.truth is not None and sample.calibration_truth is not None
    assert sample.truth.tolist() == [row % 3 for row in rest]
    assert sample.calibration_truth.tolist() == [row % 3 for row in first]
    again = read_labelled(rows, MANIFEST, labels)
    assert [int(call["x"][0, 0]) for call in again.calls] == rest


def test_of_a_larger_sample_rows_are_taken_with_their_own_labels(rows: Path) -> None:
    np.save(rows.with_name("labels.npy"), np.arange(90) % 3)
    sample = read_labelled(rows, MANIFEST, rows.with_name("labels.npy"), most=12)
    assert len(sample.calibration) + len(sample.calls) == 12
    assert sample.truth is not None
    assert sample.truth.tolist() == [int(call["x"][0, 0]) % 3 for call in sample.calls]


def test_classes_are_names_or_numbers_and_a_name_wins(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("dog\n0\ncat\n\n7\n")
    assert read_labels(tmp_path / "labels.txt", MANIFEST).tolist() == [1, 0, 0, 2]


def test_folders_named_after_classes_are_labels_and_others_are_not(tmp_path: Path) -> None:
    for at in range(10):
        folder = tmp_path / "pictures" / ("cat" if at % 2 else "dog")
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (at * 20, 0, 0)).save(folder / f"{at}.png")
    sample = read_labelled(tmp_path / "pictures", PICTURES, None)
    assert sample.truth is not None and set(sample.truth) <= {0, 1}
    (tmp_path / "pictures" / "cat").rename(tmp_path / "pictures" / "holidays")
    assert read_labelled(tmp_path / "pictures", PICTURES, None).truth is None


def test_a_training_set_is_inputs_by_name_and_labels(tmp_path: Path) -> None:
    np.savez(tmp_path / "train.npz", x=np.zeros((4, 2)), labels=np.array(["cat", "dog", "2", "cat"]))
    training = read_training(tmp_path / "train.npz", MANIFEST)
    assert training.inputs["x"].dtype == np.float32
    assert training.labels is not None and training.labels.tolist() == [0, 1, 2, 0]
    np.savez(tmp_path / "bare.npz", x=np.zeros((4, 2)))
    assert read_training(tmp_path / "bare.npz", MANIFEST).labels is None


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("cat\n" * 89, "there are 89 labels for 90 or more rows"),
        ("cat\n" * 91, "there are 91 labels for 90 rows"),
        ("cat\n" * 89 + "bird\n", "'bird' is none of the 3 classes"),
        ("cat\n" * 89 + "3\n", "'3' is none of the 3 classes"),
    ],
)
def test_labels_that_do_not_fit_are_refused(rows: Path, content: str, sentence: str) -> None:
    labels = rows.with_name("labels.txt")
    labels.write_text(content)
    with pytest.raises(AirserveError, match=sentence):
        read_labelled(rows, MANIFEST, labels)


def test_what_is_too_little_or_no_set_is_refused(rows: Path, tmp_path: Path) -> None:
    np.save(rows, np.zeros((7, 2), np.float32))
    with pytest.raises(AirserveError, match="has 7 rows; give 8 or more"):
        read_labelled(rows, MANIFEST, None)
    plain = msgspec.structs.replace(MANIFEST, labels=())
    (tmp_path / "labels.txt").write_text("0\n")
    with pytest.raises(AirserveError, match="labels are for classifiers"):
        read_labels(tmp_path / "labels.txt", plain)
    np.savez(tmp_path / "train.npz", z=np.zeros((4, 2)))
    with pytest.raises(AirserveError, match="has no array 'x'; it has z"):
        read_training(tmp_path / "train.npz", MANIFEST)
    np.savez(tmp_path / "train.npz", x=np.zeros((4, 2)), labels=np.zeros(3, int))
    with pytest.raises(AirserveError, match="different numbers of rows"):
        read_training(tmp_path / "train.npz", MANIFEST)
