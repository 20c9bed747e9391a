"""A scikit-learn estimator, saved with skops, as ONNX: raw features in; label and probabilities, or values, out."""

from __future__ import annotations

import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from airserve.core.call import Array
from airserve.core.errors import BadPackageError, InvalidInputError
from airserve.core.tensor import Signature
from airserve.engines import Source, load_model
from airserve.models.importers.imported import Imported, Parity
from airserve.models.manifest import DEFAULT_MAX_BATCH, Manifest, Variant, tensor
from airserve.models.onnx_import import read_signature
from airserve.models.package import write_package

TOLERANCE = 1e-4
"""Of probabilities; of values, relative to their size where that is above 1."""

_OPSET = {"": 17, "ai.onnx.ml": 3}
_ROWS = 256
# Parts of scikit-learn's own estimators that skops asks about because they are not public. They hold numbers.
_PARTS = (
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
    "sklearn.tree._tree.Tree",
)


def import_estimator(
    path: Path, folder: Path, *, name: str, max_batch: int | None = None, sample: Array | None = None
) -> Imported:
    """Convert the classifier or regressor in `path` and make a package of it.

    Input `x` FP32 [-1, features]; outputs as those of a model trained here: `label` and, where the estimator has them,
    `probabilities` FP32 [-1, classes], or `prediction` FP32 [-1, targets]. Answers on `sample`, or on made-up rows, are
    those of the estimator to `TOLERANCE`, or nothing is written.
    """
    estimator = _load(path)
    rows = _rows(estimator, sample)
    with TemporaryDirectory() as scratch:
        graph = Path(scratch) / "model.onnx"
        graph.write_bytes(_convert(estimator, path.name))
        inputs, outputs = read_signature(graph)
        signature = Signature(inputs, outputs, DEFAULT_MAX_BATCH if max_batch is None else max_batch)
        model = load_model("onnx", Source(folder=graph.parent, file=graph.name, signature=signature), threads=1)
        difference = _difference(estimator, model.run({"x": rows}), rows)
        model.close()
        if not difference <= TOLERANCE:
            raise BadPackageError(
                f"{path.name}: the converted model differs from the estimator by {difference:.2g}; it is not written"
            )
        manifest = Manifest(
            name=name,
            engine="onnx",
            inputs=tuple(map(tensor, inputs)),
            outputs=tuple(map(tensor, outputs)),
            variants=(Variant("fp32", "model.onnx", graph.stat().st_size),),
            max_batch=signature.max_batch,
            labels=tuple(map(str, getattr(estimator, "classes_", ()))),
            columns=tuple(map(str, getattr(estimator, "feature_names_in_", ()))),
            description=f"scikit-learn {type(estimator).__name__}",
        )
        write_package(folder, manifest, {"model.onnx": graph})
    return Imported(f"scikit-learn {type(estimator).__name__}", folder, manifest, Parity(len(rows), difference))


def _load(path: Path) -> Any:
    try:
        import skl2onnx  # noqa: F401
        import skops.io
        from sklearn.base import is_classifier, is_regressor
    except ImportError as error:
        raise InvalidInputError(f"scikit-learn estimators need {error.name}: pip install 'airserve[import]'") from None
    try:
        strangers = sorted(set(skops.io.get_untrusted_types(file=path)) - set(_PARTS))
        if strangers:
            raise BadPackageError(
                f"{path.name} holds types that could run code when they are loaded: {', '.join(strangers)[:300]}; "
                "only estimators of scikit-learn itself are imported"
            )
        estimator = skops.io.load(path, trusted=list(_PARTS))
    except BadPackageError:
        raise
    except Exception as error:  # a damaged file fails in many ways
        raise BadPackageError(f"{path.name} cannot be read by skops: {_first_line(error)}") from None
    if not (is_classifier(estimator) or is_regressor(estimator)) or not hasattr(estimator, "n_features_in_"):
        raise BadPackageError(f"{path.name} holds no fitted classifier or regressor, but {type(estimator).__name__}")
    if isinstance(getattr(estimator, "classes_", None), list):
        raise BadPackageError(f"{path.name} classifies several targets at once; save one estimator for each")
    return estimator


def _convert(estimator: Any, file: str) -> bytes:
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType

    given = [("x", FloatTensorType([None, int(estimator.n_features_in_)]))]
    options = {id(estimator): {"zipmap": False}} if hasattr(estimator, "predict_proba") else None
    try:
        model = convert_sklearn(estimator, initial_types=given, options=options, target_opset=_OPSET)
    except Exception as error:  # skl2onnx raises what its converters happen to raise
        raise BadPackageError(f"skl2onnx cannot convert {file}: {_first_line(error)}") from None
    if not hasattr(estimator, "classes_"):
        _rename(model.graph, model.graph.output[0].name, "prediction")
    elif not hasattr(estimator, "predict_proba"):
        # What the graph gives second are scores then, not probabilities.
        del model.graph.output[1:]
    content: bytes = model.SerializeToString()
    return content


def _rename(graph: Any, old: str, new: str) -> None:
    for node in graph.node:
        node.output[:] = [new if name == old else name for name in node.output]
        node.input[:] = [new if name == old else name for name in node.input]
    graph.output[0].name = new


def _rows(estimator: Any, sample: Array | None) -> Array:
    """Rows to compare on: the given ones, or normal ones, on the scale that a first step has learnt."""
    features = int(estimator.n_features_in_)
    if sample is not None:
        if sample.ndim != 2 or sample.shape[1] != features or not len(sample):
            raise InvalidInputError(
                f"the sample has shape {list(sample.shape)}; the estimator takes [rows, {features}]"
            )
        return sample.astype(np.float32)
    rows = np.random.default_rng(0).normal(size=(_ROWS, features))
    first = estimator.steps[0][1] if hasattr(estimator, "steps") else estimator
    centre, scale = getattr(first, "mean_", None), getattr(first, "scale_", None)
    if centre is not None and scale is not None:
        rows = rows * scale + centre
    return rows.astype(np.float32)


def _difference(estimator: Any, outputs: dict[str, Array], rows: Array) -> float:
    with warnings.catch_warnings():
        # It was fitted on a table with names; these rows have none.
        warnings.filterwarnings("ignore", message="X does not have valid feature names")
        if "prediction" in outputs:
            wanted = np.asarray(estimator.predict(rows), np.float64).reshape(len(rows), -1)
            apart = np.abs(outputs["prediction"].reshape(len(rows), -1) - wanted) / np.maximum(1, np.abs(wanted))
            return float(apart.max())
        labels = estimator.predict(rows).astype(str)
        disagree = outputs["label"].astype(str) != labels
        if "probabilities" not in outputs:
            return float(disagree.mean())
        wanted = estimator.predict_proba(rows)
    # Where two classes are level, rounding decides between them.
    best = np.sort(wanted, axis=1)
    clear = best[:, -1] - best[:, -2] > 2 * TOLERANCE
    return max(float(np.abs(outputs["probabilities"] - wanted).max()), float((disagree & clear).any()))


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:300]
