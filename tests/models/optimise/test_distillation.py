from __future__ import annotations

import dataclasses
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airserve.engines.session import Session
from airserve.models.manifest import Tensor
from airserve.models.onnx_admission import admit
from airserve.models.optimise.distillation import METHODS, SoftCrossEntropy, fits
from airserve.models.optimise.method import Original, Training
from airserve.models.optimise.teaching import soft
from airserve.nn import TrainingError
from tests.models.optimise import learners

BY_NAME = {each.name: each for each in METHODS}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("learners")


@pytest.mark.parametrize("labelled", [True, False])
def test_a_student_of_a_tenth_of_the_size_tells_digits_apart(folder: Path, tmp_path: Path, labelled: bool) -> None:
    original = learners.dense(folder / "dense", labelled=labelled)
    method = BY_NAME["student-small"]
    assert method.fits(original) is None
    method.make(original, tmp_path / "made.onnx")
    assert (tmp_path / "made.onnx").stat().st_size < 0.13 * original.file.stat().st_size
    assert learners.right(tmp_path / "made.onnx", original) > 0.9


def test_a_student_has_the_inputs_and_outputs_of_the_original(folder: Path, tmp_path: Path) -> None:
    original = learners.dense(folder / "dense")
    BY_NAME["student-small"].make(original, tmp_path / "made.onnx")
    before, after = admit(original.file), admit(tmp_path / "made.onnx")
    assert (after.inputs, after.outputs) == (before.inputs, before.outputs)
    session = Session(tmp_path / "made.onnx", threads=1)
    answers = session.run({"x": learners.digits()[0][:50]}, ["probabilities", "label"])
    np.testing.assert_allclose(answers["probabilities"].sum(1), 1, atol=1e-5)
    assert answers["label"].tolist() == [str(each) for each in answers["probabilities"].argmax(1)]


def test_a_student_for_pictures_has_convolutions(folder: Path, tmp_path: Path) -> None:
    original = learners.convolutional(folder / "conv")
    BY_NAME["student-small"].make(original, tmp_path / "made.onnx")
    assert admit(tmp_path / "made.onnx").inputs == admit(original.file).inputs
    assert admit(tmp_path / "made.onnx").outputs == admit(original.file).outputs
    assert (tmp_path / "made.onnx").stat().st_size < 0.3 * original.file.stat().st_size
    assert learners.right(tmp_path / "made.onnx", original) > 0.9


def test_pictures_of_any_size_have_a_student_too(folder: Path, tmp_path: Path) -> None:
    original = learners.convolutional(folder / "conv")
    assert original.training is not None
    inputs = (Tensor("x", "FP32", (-1, 1, -1, -1)),)
    few = Training({"x": original.training.inputs["x"][:60]}, None)
    manifest = msgspec.structs.replace(original.manifest, inputs=inputs)
    free = dataclasses.replace(original, manifest=manifest, training=few)
    assert fits(free) is None
    BY_NAME["student-small"].make(free, tmp_path / "made.onnx")
    session = Session(tmp_path / "made.onnx", threads=1)
    assert session.run({"x": np.zeros((2, 1, 12, 9), np.float32)}, ["scores"])["scores"].shape == (2, 10)


def test_a_student_learns_values(folder: Path, tmp_path: Path) -> None:
    original = learners.values(folder / "values")
    assert original.training is not None
    BY_NAME["student-medium"].make(original, tmp_path / "made.onnx")
    exact, found = (
        Session(file, threads=1).run(original.training.inputs, ["prediction"])["prediction"]
        for file in (original.file, tmp_path / "made.onnx")
    )
    assert np.square(found - exact).mean() < 0.1 * exact.var()


def test_what_it_is_not_for_is_said(folder: Path) -> None:
    original = learners.dense(folder / "dense")

    def changed(**fields: object) -> Original:
        return dataclasses.replace(original, manifest=msgspec.structs.replace(original.manifest, **fields))

    assert "--train" in str(fits(dataclasses.replace(original, training=None)))
    two = (*original.manifest.inputs, Tensor("z", "FP32", (-1, 3)))
    assert "one input" in str(fits(changed(inputs=two)))
    more = (*original.manifest.outputs, Tensor("depth", "INT64", (-1,)))
    assert "the output 'depth'" in str(fits(changed(outputs=more)))
    assert "[rows, columns]" in str(fits(changed(inputs=(Tensor("x", "FP32", (-1, 8, 8)),))))


@given(
    st.integers(0, 2**32 - 1),
    st.booleans(),
)
def test_the_gradient_of_the_loss_is_that_of_its_value(seed: int, labelled: bool) -> None:
    random = np.random.default_rng(seed)
    logits = random.normal(size=(3, 4))
    known = np.eye(4)[random.integers(0, 4, 3)] if labelled else np.zeros((3, 4))
    targets = np.concatenate([soft(random.normal(size=(3, 4))), known], axis=1)
    loss, step = SoftCrossEntropy(4), 1e-5
    wanted = np.zeros_like(logits)
    for at in np.ndindex(logits.shape):
        more, less = logits.copy(), logits.copy()
        more[at] += step
        less[at] -= step
        wanted[at] = (loss.value(more, targets) - loss.value(less, targets)) / (2 * step)
    np.testing.assert_allclose(loss.gradient(logits, targets), wanted, atol=1e-7)


def test_targets_of_another_form_are_refused() -> None:
    with pytest.raises(TrainingError, match=r"targets \[rows, 8\]"):
        SoftCrossEntropy(4).check(np.zeros((3, 4)), 4)
