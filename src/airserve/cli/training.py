"""From a data set to a package that is ready to publish: split, scale, train, measure, export."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from airserve.cli.data import Dataset, load_dataset
from airserve.cli.private_training import PrivateRecipe, make_private
from airserve.core.errors import InvalidInputError
from airserve.core.tensor import TensorSpec
from airserve.nn import (
    Adam,
    CategoricalCrossEntropy,
    Constant,
    Cosine,
    Data,
    Dynamic,
    Epoch,
    GradientDescent,
    MeanSquaredError,
    Network,
    Optimiser,
    Scaling,
    Schedule,
    Trainer,
    TrainingError,
    check_finite,
    export_onnx,
    fit_scaling,
    load_checkpoint,
    predict_for_people,
    range_scaling,
    save_checkpoint,
)

if TYPE_CHECKING:
    from airserve.models.manifest import Privacy

Array = npt.NDArray[Any]
OnEpoch = Callable[[Epoch, int], None]

_RATES = {"adam": 3e-3, "sgd": 2e-2, "gd": 0.2}
_PRIVATE_RATES = {"adam": 1e-2, "sgd": 5e-2, "gd": 0.5}

_MAX_COLUMNS = 4096
"""Beyond that, names would make the manifest larger than most models."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train; the defaults suit small tabular data. `batch_size` and `learning_rate` None fit the rest."""

    hidden: tuple[int, ...] = (128, 64)
    activation: str = "relu"
    epochs: int = 60
    batch_size: int | None = None
    optimiser: Literal["gd", "sgd", "adam"] = "adam"
    learning_rate: float | None = None
    schedule: Literal["constant", "cosine", "dynamic"] = "cosine"
    schedule_per: Literal["step", "epoch"] = "step"
    rho: float = 0.99
    beta: float = 1e-4
    momentum: float = 0.9
    weight_decay: float = 0.1
    validation: float = 0.0
    test: float = 0.2
    patience: int | None = None
    seed: int = 0
    checkpoint_dir: Path | None = None
    resume: bool = False
    private: PrivateRecipe | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What came of it. `score` is the accuracy, or R² for a regression, on data that training never saw."""

    package: Path
    metric: Literal["accuracy", "r2"]
    score: float
    rmse: float | None
    confusion: list[list[int]] | None
    labels: tuple[str, ...] | None
    parameters: int
    size_bytes: int
    rows: int
    seconds: float
    epochs: int
    stopped_early: bool
    parity: float
    privacy: dict[str, Any] | None = None
    history: list[Epoch] = field(default_factory=list)


def train_to_package(
    source: str,
    output: Path,
    *,
    name: str,
    target: str | None = None,
    recipe: Recipe | None = None,
    on_epoch: OnEpoch | None = None,
) -> Report:
    """Train on the data at `source` and write the package to the folder `output`.

    Raises `InvalidInputError`, with what to do, for data and settings that cannot be trained with.
    """
    try:
        return _train(load_dataset(source, target), output, name, recipe or Recipe(), on_epoch)
    except TrainingError as error:
        raise InvalidInputError(str(error)) from None


def _train(dataset: Dataset, output: Path, name: str, recipe: Recipe, on_epoch: OnEpoch | None) -> Report:
    started = time.perf_counter()
    _check(dataset)
    learn, hold, test = _split(dataset, recipe)
    labels = dataset.labels
    scaling, target_scaling = _scalings(dataset, learn, recipe.private)
    targets = dataset.targets if target_scaling is None else target_scaling.apply(dataset.targets)
    units = len(labels) if labels is not None else targets.shape[1]
    loss = CategoricalCrossEntropy() if labels is not None else MeanSquaredError()
    network = Network(
        (dataset.x.shape[1], *recipe.hidden, units), hidden=recipe.activation, output=loss.output, seed=recipe.seed
    )
    trainer = Trainer(
        network,
        Data(scaling.apply(dataset.x[learn]), targets[learn]),
        loss=loss,
        optimiser=_optimiser(recipe),
        schedule=_schedule(recipe, len(learn)),
        batch_size=_batch_size(recipe),
        validation=Data(scaling.apply(dataset.x[hold]), targets[hold]) if len(hold) else None,
        patience=recipe.patience,
        seed=recipe.seed,
    )
    privacy = None if recipe.private is None else make_private(trainer, recipe.private, recipe.epochs, len(learn))
    _run(trainer, recipe, on_epoch)
    predicted = predict_for_people(network, scaling.apply(dataset.x[test]), labels, target_scaling)
    score, rmse, confusion = _measure(predicted, dataset.targets[test], labels)
    metric: Literal["accuracy", "r2"] = "accuracy" if labels is not None else "r2"
    parity, size = _export(network, output, name, dataset, learn, scaling, target_scaling, (metric, score), privacy)
    return Report(
        package=output,
        metric=metric,
        score=score,
        rmse=rmse,
        confusion=confusion,
        labels=labels,
        parameters=network.parameters.size,
        size_bytes=size,
        rows=len(dataset.x),
        seconds=time.perf_counter() - started,
        epochs=trainer.progress.epoch,
        stopped_early=trainer.progress.stopped_early,
        parity=parity,
        privacy=None if privacy is None else msgspec.structs.asdict(privacy),
        history=trainer.progress.history,
    )


def _scalings(dataset: Dataset, learn: Array, private: PrivateRecipe | None) -> tuple[Scaling, Scaling | None]:
    """Of the features, and of a regression's targets."""
    values = dataset.labels is None
    if private is None:
        return fit_scaling(dataset.x[learn]), fit_scaling(dataset.targets[learn]) if values else None
    of_features = range_scaling(*private.feature_range, dataset.x.shape[1])
    if not values:
        return of_features, None
    if private.target_range is None:
        raise InvalidInputError(
            "a private regression needs the range of its targets, as anybody may know it: --target-range 0,500"
        )
    return of_features, range_scaling(*private.target_range, dataset.targets.shape[1])


def _check(dataset: Dataset) -> None:
    check_finite(dataset.x, "the features")
    if dataset.labels is None:
        check_finite(dataset.targets, "the targets")
    elif len(dataset.labels) < 2:
        raise InvalidInputError(f"every row has the class '{dataset.labels[0]}'; there is nothing to tell apart")


def _split(dataset: Dataset, recipe: Recipe) -> tuple[Array, Array, Array]:
    """Row numbers to learn from, to stop early by, and to measure on; the same for the same seed."""
    for what, part in (("test", recipe.test), ("validation", recipe.validation)):
        if not 0 <= part < 1:
            raise InvalidInputError(f"the {what} part lies from 0 to below 1, not at {part}")
    validation = recipe.validation or (0.1 if recipe.patience is not None else 0.0)
    order = np.random.default_rng(recipe.seed).permutation(len(dataset.x))
    tested, held = round(len(order) * recipe.test), round(len(order) * validation)
    test, hold, learn = order[:tested], order[tested : tested + held], order[tested + held :]
    if not len(test) or not len(learn) or (validation and not len(hold)):
        raise InvalidInputError(
            f"{len(order)} rows are too few to hold back {recipe.test:.0%} for the test and {validation:.0%} "
            "for validation"
        )
    return learn, hold, test


def _optimiser(recipe: Recipe) -> Optimiser:
    if recipe.optimiser == "adam":
        return Adam(weight_decay=recipe.weight_decay)
    momentum = recipe.momentum if recipe.optimiser == "sgd" else 0.0
    return GradientDescent(momentum=momentum, weight_decay=recipe.weight_decay / 1000)


def _batch_size(recipe: Recipe) -> int | None:
    """Rows of a batch; None is the whole data set. Noise weighs less on the mean of more rows."""
    if recipe.optimiser == "gd" and recipe.private is None:
        return None
    return recipe.batch_size or (256 if recipe.private else 32)


def _schedule(recipe: Recipe, rows: int) -> Schedule:
    start = recipe.learning_rate or (_PRIVATE_RATES if recipe.private else _RATES)[recipe.optimiser]
    if start <= 0 or recipe.epochs < 1:
        raise InvalidInputError("the learning rate is more than 0 and there is at least one epoch")
    if recipe.schedule == "constant":
        return Constant(start, recipe.schedule_per)
    if recipe.schedule == "dynamic":
        return Dynamic(start, recipe.rho, recipe.beta, recipe.schedule_per)
    batch = min(_batch_size(recipe) or rows, rows)
    steps = recipe.epochs * -(-rows // batch) if recipe.schedule_per == "step" else recipe.epochs
    return Cosine(start, steps, per=recipe.schedule_per)


def _run(trainer: Trainer, recipe: Recipe, on_epoch: OnEpoch | None) -> None:
    checkpoint = None if recipe.checkpoint_dir is None else recipe.checkpoint_dir / "checkpoint.safetensors"
    if recipe.resume:
        if checkpoint is None or not checkpoint.exists():
            raise InvalidInputError("there is no checkpoint to resume from; name its folder with --checkpoint-dir")
        load_checkpoint(checkpoint, trainer)

    def after(epoch: Epoch) -> None:
        if checkpoint is not None:
            save_checkpoint(checkpoint, trainer)
        if on_epoch is not None:
            on_epoch(epoch, recipe.epochs)

    trainer.run(recipe.epochs, after)


def _measure(
    predicted: Array, targets: Array, labels: tuple[str, ...] | None
) -> tuple[float, float | None, list[list[int]] | None]:
    """(accuracy, None, confusion: a row for each true class) or (R², RMSE, None)."""
    if labels is not None:
        chosen = predicted.argmax(axis=1)
        confusion = np.zeros((len(labels), len(labels)), np.int64)
        np.add.at(confusion, (targets, chosen), 1)
        return float(np.mean(chosen == targets)), None, confusion.tolist()
    errors = np.square(targets - predicted, dtype=np.float64)
    spread = np.square(targets - targets.mean(axis=0), dtype=np.float64).sum()
    return float(1 - errors.sum() / spread) if spread else 0.0, float(np.sqrt(errors.mean())), None


def _export(
    network: Network,
    output: Path,
    name: str,
    dataset: Dataset,
    learn: Array,
    scaling: Scaling,
    target_scaling: Scaling | None,
    measured: tuple[str, float],
    privacy: Privacy | None,
) -> tuple[float, int]:
    from airserve.cli.training_baseline import training_baseline
    from airserve.models.manifest import DEFAULT_MAX_BATCH, Manifest, Variant, tensor
    from airserve.models.package import write_package

    labels, units = dataset.labels, network.sizes[-1]
    with TemporaryDirectory() as scratch:
        path = Path(scratch) / "model.onnx"
        parity = export_onnx(
            network, path, sample=dataset.x[:256], scaling=scaling, labels=labels, target_scaling=target_scaling
        )
        size = path.stat().st_size
        outputs = (
            (TensorSpec("prediction", "FP32", (-1, units)),)
            if labels is None
            else (TensorSpec("probabilities", "FP32", (-1, len(labels))), TensorSpec("label", "BYTES", (-1,)))
        )
        manifest = Manifest(
            name=name,
            engine="onnx",
            inputs=(tensor(TensorSpec("x", "FP32", (-1, network.sizes[0]))),),
            outputs=tuple(map(tensor, outputs)),
            variants=(Variant("fp32", "model.onnx", size, accuracy=round(measured[1], 6), metric=measured[0]),),
            max_batch=DEFAULT_MAX_BATCH,
            privacy=privacy,
            labels=labels or (),
            columns=dataset.columns if len(dataset.columns) <= _MAX_COLUMNS else (),
            description=f"columns of x: {', '.join(dataset.columns)}"[:2000],
        )
        files: dict[str, bytes | Path] = {"model.onnx": path}
        if privacy is None:
            # Counts of rows are exact, and ε does not cover them.
            files |= training_baseline(
                manifest,
                dataset.x[learn],
                lambda x: predict_for_people(network, scaling.apply(x), labels, target_scaling),
            )
        write_package(output, manifest, files)
    return parity, size
