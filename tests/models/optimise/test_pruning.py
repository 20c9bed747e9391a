from __future__ import annotations

import dataclasses
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest

from airserve.core.errors import BadPackageError
from airserve.engines.options import Vision
from airserve.engines.session import Session
from airserve.models.onnx_admission import admit
from airserve.models.optimise.channels import layers, without
from airserve.models.optimise.graphs import read_graph
from airserve.models.optimise.method import Original, Training
from airserve.models.optimise.pruning import METHODS, fits, prune
from tests.models.optimise import learners

BY_NAME = {each.name: each for each in METHODS}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("learners")


def widths(file: Path) -> list[int]:
    """Of all layers that can be pruned."""
    model = onnx.load(file)
    return [each.count for each in layers(model, model.graph.output[0].name)]


@pytest.mark.parametrize("labelled", [True, False])
def test_a_network_of_half_the_width_still_tells_digits_apart(folder: Path, tmp_path: Path, labelled: bool) -> None:
    original = learners.dense(folder / "dense", labelled=labelled)
    assert BY_NAME["prune-50"].fits(original) is None
    BY_NAME["prune-50"].make(original, tmp_path / "made.onnx")
    assert (widths(original.file), widths(tmp_path / "made.onnx")) == ([96, 64], [48, 32])
    assert (tmp_path / "made.onnx").stat().st_size < 0.6 * original.file.stat().st_size
    assert learners.right(tmp_path / "made.onnx", original) > 0.95


def test_inputs_outputs_and_names_of_classes_stay(folder: Path, tmp_path: Path) -> None:
    original = learners.dense(folder / "dense")
    prune(original, tmp_path / "made.onnx", 0.5)
    before, after = admit(original.file), admit(tmp_path / "made.onnx")
    assert (after.inputs, after.outputs) == (before.inputs, before.outputs)
    session = Session(tmp_path / "made.onnx", threads=1)
    answers = session.run({"x": learners.digits()[0][:50]}, ["probabilities", "label"])
    assert answers["label"].tolist() == [str(each) for each in answers["probabilities"].argmax(1)]


def test_convolutions_lose_channels_through_all_that_follows_them(folder: Path, tmp_path: Path) -> None:
    original = learners.convolutional(folder / "conv")
    assert widths(original.file) == [16, 32, 48]
    prune(original, tmp_path / "made.onnx", 0.75)
    assert widths(tmp_path / "made.onnx") == [4, 8, 12]
    assert (tmp_path / "made.onnx").stat().st_size < 0.2 * original.file.stat().st_size
    assert learners.right(tmp_path / "made.onnx", original) > 0.9
    assert admit(tmp_path / "made.onnx").outputs == admit(original.file).outputs


def test_learning_again_is_what_makes_up_for_what_was_cut(folder: Path, tmp_path: Path) -> None:
    original = learners.dense(folder / "dense")
    model = read_graph(original)
    # The first channels of each layer are as good as any, before anything is learned.
    kept = [(each, np.arange(each.count // 4)) for each in layers(model, "probabilities")]
    onnx.save(without(model, kept), tmp_path / "cut.onnx")
    prune(original, tmp_path / "made.onnx", 0.75)
    assert widths(tmp_path / "cut.onnx") == widths(tmp_path / "made.onnx") == [24, 16]
    assert learners.right(tmp_path / "made.onnx", original) > learners.right(tmp_path / "cut.onnx", original) + 0.1


def test_the_same_data_give_the_same_weights(folder: Path, tmp_path: Path) -> None:
    original = learners.values(folder / "values")
    for name in ("one.onnx", "two.onnx"):
        prune(original, tmp_path / name, 0.5)
    assert (tmp_path / "one.onnx").read_bytes() == (tmp_path / "two.onnx").read_bytes()


def test_values_are_learned_as_classes_are(folder: Path, tmp_path: Path) -> None:
    original = learners.values(folder / "values")
    assert original.training is not None
    prune(original, tmp_path / "made.onnx", 0.5)
    exact, found = (
        Session(file, threads=1).run(original.training.inputs, ["prediction"])["prediction"]
        for file in (original.file, tmp_path / "made.onnx")
    )
    assert np.square(found - exact).mean() < 0.1 * exact.var()


def test_what_it_is_not_for_is_said(folder: Path) -> None:
    original = learners.dense(folder / "dense")
    assert original.training is not None
    assert fits(dataclasses.replace(original, training=None)) == "it learns from rows: give a training set with --train"
    few = Training({"x": original.training.inputs["x"][:10]}, None)
    assert "fewer than 20 rows" in str(fits(dataclasses.replace(original, training=few)))

    def changed(**fields: object) -> Original:
        return dataclasses.replace(original, manifest=msgspec.structs.replace(original.manifest, **fields))

    assert "arrays, not pictures" in str(fits(changed(vision=Vision(size=8, resize=8))))
    assert "one row at a time" in str(fits(changed(max_batch=0)))
    assert "several outputs" in str(fits(changed(outputs=original.manifest.outputs[1:])))


def test_a_graph_with_what_cannot_be_trained_is_named(folder: Path, tmp_path: Path) -> None:
    original = learners.dense(folder / "dense")
    model = read_graph(original)
    next(node for node in model.graph.node if node.op_type == "Relu").op_type = "Softplus"
    (tmp_path / original.variant.file).parent.mkdir(exist_ok=True)
    onnx.save(model, tmp_path / original.variant.file)
    assert "Softplus, which cannot be trained here" in str(fits(dataclasses.replace(original, folder=tmp_path)))


def test_a_network_that_is_narrow_already_is_refused(folder: Path, tmp_path: Path) -> None:
    original = learners.dense(folder / "dense")
    model = read_graph(original)
    kept = [(each, np.arange(2)) for each in layers(model, "probabilities")]
    onnx.save(without(model, kept), tmp_path / original.variant.file)
    with pytest.raises(BadPackageError, match="channels enough"):
        prune(dataclasses.replace(original, folder=tmp_path), tmp_path / "made.onnx", 0.25)
