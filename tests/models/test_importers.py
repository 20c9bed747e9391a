from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.multioutput import MultiOutputClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import LinearSVC

from airserve.core.call import Tensors
from airserve.core.errors import BadPackageError, InvalidInputError, NotFoundError
from airserve.engines import Source, load_model
from airserve.engines.options import Upstream
from airserve.models.importers import Imported, import_file, import_upstream
from airserve.models.manifest import Tensor
from airserve.models.package import open_package
from tests.models_for_tests import save_linear

IRIS = load_iris()
DIABETES = load_diabetes()
SPECIES = IRIS.target_names[IRIS.target]


def save(estimator: Any, path: Path) -> Path:
    skops.io.dump(estimator, path)
    return path


def run(imported: Imported, inputs: Tensors) -> Tensors:
    package = open_package(imported.folder)
    source = Source(
        folder=imported.folder, file=package.manifest.variants[0].file, signature=package.manifest.signature
    )
    return load_model("onnx", source, threads=1).run(inputs)


@pytest.mark.parametrize(
    "estimator",
    [
        LogisticRegression(max_iter=500),
        make_pipeline(StandardScaler(), LogisticRegression()),
        RandomForestClassifier(10, random_state=0),
        HistGradientBoostingClassifier(max_iter=10),
        make_pipeline(StandardScaler(), MLPClassifier((8,), max_iter=300, random_state=0)),
    ],
    ids=lambda estimator: str(estimator)[:40],
)
def test_a_classifier_answers_with_the_names_of_its_classes(estimator: Any, tmp_path: Path) -> None:
    estimator.fit(IRIS.data, SPECIES)
    imported = import_file(save(estimator, tmp_path / "iris.skops"), tmp_path / "out", name="iris")
    manifest = open_package(tmp_path / "out").manifest
    assert manifest == imported.manifest
    assert manifest.inputs == (Tensor("x", "FP32", (-1, 4)),)
    assert manifest.outputs == (Tensor("label", "BYTES", (-1,)), Tensor("probabilities", "FP32", (-1, 3)))
    assert manifest.labels == ("setosa", "versicolor", "virginica")
    assert manifest.max_batch > 1
    assert imported.parity is not None
    assert imported.parity.difference <= 1e-4

    rows = IRIS.data.astype(np.float32)
    answer = run(imported, {"x": rows})
    np.testing.assert_allclose(answer["probabilities"], estimator.predict_proba(rows), atol=1e-4)
    assert np.mean(answer["label"] == estimator.predict(rows)) > 0.99


@pytest.mark.parametrize(
    "estimator",
    [make_pipeline(StandardScaler(), LinearRegression()), RandomForestRegressor(5, random_state=0)],
    ids=["linear", "forest"],
)
def test_a_regressor_answers_with_its_prediction(estimator: Any, tmp_path: Path) -> None:
    estimator.fit(DIABETES.data, DIABETES.target)
    imported = import_file(save(estimator, tmp_path / "m.skops"), tmp_path / "out", name="diabetes")
    assert imported.manifest.outputs == (Tensor("prediction", "FP32", (-1, 1)),)
    rows = DIABETES.data.astype(np.float32)
    answer = run(imported, {"x": rows})["prediction"][:, 0]
    np.testing.assert_allclose(answer, estimator.predict(rows), rtol=1e-4)


def test_columns_come_along_and_classes_that_are_numbers_stay_numbers(tmp_path: Path) -> None:
    estimator = LogisticRegression(max_iter=500).fit(IRIS.data, IRIS.target)
    # As after a fit on a table with names.
    estimator.feature_names_in_ = np.array(IRIS.feature_names, dtype=object)
    imported = import_file(save(estimator, tmp_path / "m.skops"), tmp_path / "out", name="iris")
    assert imported.manifest.columns == tuple(IRIS.feature_names)
    assert imported.manifest.outputs[0] == Tensor("label", "INT64", (-1,))


def test_a_classifier_without_probabilities_gives_labels_alone(tmp_path: Path) -> None:
    estimator = LinearSVC().fit(IRIS.data, SPECIES)
    imported = import_file(save(estimator, tmp_path / "m.skops"), tmp_path / "out", name="iris")
    assert [each.name for each in imported.manifest.outputs] == ["label"]


def test_rows_of_your_own_are_what_parity_is_checked_on(tmp_path: Path) -> None:
    path = save(LogisticRegression(max_iter=500).fit(IRIS.data, SPECIES), tmp_path / "m.skops")
    imported = import_file(path, tmp_path / "out", name="iris", sample=IRIS.data)
    assert imported.parity is not None
    assert imported.parity.samples == 150
    with pytest.raises(InvalidInputError, match=r"\[150, 3\]; the estimator takes \[rows, 4\]"):
        import_file(path, tmp_path / "again", name="iris", sample=IRIS.data[:, :3])


class Stranger(LogisticRegression):
    """An estimator of somebody's own."""


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (Stranger().fit(IRIS.data, IRIS.target), "could run code when they are loaded: .*Stranger"),
        (StandardScaler().fit(IRIS.data), "no fitted classifier or regressor, but StandardScaler"),
        (LogisticRegression(), "no fitted classifier or regressor"),
        (
            MultiOutputClassifier(LogisticRegression(max_iter=500)).fit(IRIS.data, np.c_[IRIS.target, IRIS.target]),
            "several targets at once",
        ),
        (
            make_pipeline(FunctionTransformer(np.log1p), LogisticRegression(max_iter=500)).fit(IRIS.data, IRIS.target),
            "skl2onnx cannot convert",
        ),
    ],
    ids=["stranger", "scaler", "unfitted", "two targets", "function"],
)
def test_what_cannot_be_imported_from_scikit_learn_says_why(estimator: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(BadPackageError, match=message):
        import_file(save(estimator, tmp_path / "m.skops"), tmp_path / "out", name="m")
    assert not (tmp_path / "out").exists()


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.skops").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(BadPackageError, match="a zip archive that cannot be looked into"):
        import_file(tmp_path / "m.skops", tmp_path / "out", name="m")


def test_a_graph_is_imported_as_it_is(tmp_path: Path) -> None:
    imported = import_file(save_linear(tmp_path / "m.onnx"), tmp_path / "out", name="linear", max_batch=4)
    assert (imported.source, imported.parity, imported.manifest.max_batch) == ("ONNX", None, 4)
    np.testing.assert_array_equal(run(imported, {"x": np.ones((1, 4), np.float32)})["y"], [[2, 2, 2, 2]])


@pytest.mark.parametrize("suffix", ["pkl", "pickle", "joblib", "pt", "pth", "ckpt", "bin", "PKL"])
def test_pickles_are_refused_with_the_reason_and_what_to_do(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"model.{suffix}"
    path.write_bytes(b"cposix\nsystem\n(S'touch /tmp/pwned'\ntR.")
    with pytest.raises(BadPackageError, match=r"can run any code when it is loaded.*skops\.io\.dump"):
        import_file(path, tmp_path / "out", name="m")


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("program.pt2", r"it unpickles some of it.*torch\.onnx\.export"),
        ("model.safetensors", "weights alone"),
        ("model.py", "airserve publish"),
        ("notes.txt", "known are .onnx"),
    ],
)
def test_what_is_no_model_to_import_says_what_to_do(file: str, message: str, tmp_path: Path) -> None:
    (tmp_path / file).touch()
    with pytest.raises(BadPackageError, match=message):
        import_file(tmp_path / file, tmp_path / "out", name="m")
    with pytest.raises(NotFoundError):
        import_file(tmp_path / "nowhere.onnx", tmp_path / "out", name="m")


def test_a_package_of_another_server_holds_no_weights_and_no_key(tmp_path: Path) -> None:
    upstream = Upstream(url="http://gpu-1:8000/v1", model="llama", key_variable="GPU_KEY")
    import_upstream(upstream, tmp_path / "out", name="chat")
    package = open_package(tmp_path / "out")
    assert package.files == ("airserve.toml",)
    assert (package.manifest.engine, package.manifest.upstream, package.manifest.variants) == ("openai", upstream, ())


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://gpu-1:8000", "does not end in /v1"),
        ("ftp://gpu-1/v1", "http:// or https://"),
        ("http://user:secret@gpu-1/v1", "no user, key or query"),
        ("http://gpu-1/v1?key=secret/v1", "no user, key or query"),
    ],
)
def test_an_address_that_is_none_is_refused(url: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(BadPackageError, match=message):
        import_upstream(Upstream(url=url, model="m"), tmp_path / "out", name="chat")
