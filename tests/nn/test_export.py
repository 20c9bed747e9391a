from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from airserve.nn import Network, TrainingError, export_onnx, fit_scaling, predict_for_people

RNG = np.random.default_rng(2)
SAMPLE = (RNG.standard_normal((50, 6)) * [1, 10, 100, 0.1, 5, 0] + [0, 5, -70, 1, 2, 3]).astype(np.float32)


@pytest.mark.parametrize("hidden", ["relu", "tanh", "sigmoid"])
def test_a_classifier_takes_raw_features_and_gives_probabilities_and_names(hidden: str, tmp_path: Path) -> None:
    network = Network((6, 7, 3), hidden=hidden, output="softmax", seed=4)
    scaling, labels = fit_scaling(SAMPLE), ["cat", "dog", "Ünïcode"]
    difference = export_onnx(network, tmp_path / "m.onnx", sample=SAMPLE, scaling=scaling, labels=labels)
    assert difference <= 1e-5
    session = ort.InferenceSession(tmp_path / "m.onnx")
    probabilities, names = session.run(["probabilities", "label"], {"x": SAMPLE})
    expected = network.predict(scaling.apply(SAMPLE))
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)
    assert list(names) == [labels[index] for index in expected.argmax(axis=1)]


def test_a_single_sigmoid_becomes_two_classes(tmp_path: Path) -> None:
    network = Network((6, 1), output="sigmoid", seed=1)
    export_onnx(network, tmp_path / "m.onnx", sample=SAMPLE, labels=["no", "yes"])
    probabilities, names = ort.InferenceSession(tmp_path / "m.onnx").run(["probabilities", "label"], {"x": SAMPLE})
    np.testing.assert_allclose(probabilities, predict_for_people(network, SAMPLE, ["no", "yes"], None), atol=1e-5)
    assert set(names) <= {"no", "yes"}


def test_a_regression_answers_in_the_unit_of_its_targets(tmp_path: Path) -> None:
    network = Network((6, 5, 2), hidden="tanh", seed=3)
    targets = RNG.standard_normal((50, 2)) * 1000 + 5000
    scaling, target_scaling = fit_scaling(SAMPLE), fit_scaling(targets)
    export_onnx(network, tmp_path / "m.onnx", sample=SAMPLE, scaling=scaling, target_scaling=target_scaling)
    (prediction,) = ort.InferenceSession(tmp_path / "m.onnx").run(["prediction"], {"x": SAMPLE})
    assert 3000 < prediction.mean() < 7000
    expected = target_scaling.undo(network.predict(scaling.apply(SAMPLE)))
    np.testing.assert_allclose(prediction, expected, rtol=1e-5)


def test_a_graph_that_would_differ_is_not_written(tmp_path: Path) -> None:
    network = Network((6, 3), output="softmax")
    network.parameters[0] = np.nan
    with pytest.raises(TrainingError, match="not written"):
        export_onnx(network, tmp_path / "m.onnx", sample=SAMPLE, labels=["a", "b", "c"])
    assert not (tmp_path / "m.onnx").exists()


def test_names_that_do_not_fit_the_outputs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="2 class names"):
        export_onnx(Network((6, 3)), tmp_path / "m.onnx", sample=SAMPLE, labels=["a", "b"])
