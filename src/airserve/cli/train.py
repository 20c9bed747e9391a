"""`airserve train`: a data set in, a package out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from airserve.cli.output import AsJson, console, error_console, fail, print_json
from airserve.core.errors import ConflictError, InvalidInputError

if TYPE_CHECKING:
    from airserve.cli.private_training import PrivateRecipe
    from airserve.cli.training import OnEpoch, Report
    from airserve.nn import Epoch

_HELP = """Train a neural network and make a package of it, ready for `airserve publish`.

DATA is a .csv, .parquet or .npz file, or a data set that scikit-learn carries: sklearn:digits, iris, wine,
breast_cancer, diabetes. Text, booleans and a few different integers are classes; other targets are values.

Examples: `airserve train sklearn:digits` · `airserve train houses.csv --target price --hidden 64,64 --plot curves.png`
· `airserve train iris.csv --target species --optimiser sgd --schedule dynamic --rho 0.95 --beta 0.001`
"""


class Optimiser(StrEnum):
    """Whole data set, mini-batches with momentum, or Adam."""

    gd = "gd"
    sgd = "sgd"
    adam = "adam"


class ScheduleName(StrEnum):
    """How the learning rate goes."""

    constant = "constant"
    cosine = "cosine"
    dynamic = "dynamic"


class Per(StrEnum):
    """What the schedule counts."""

    step = "step"
    epoch = "epoch"


class ActivationName(StrEnum):
    """Of the hidden layers."""

    relu = "relu"
    tanh = "tanh"
    sigmoid = "sigmoid"


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("train", help=_HELP)(train)


def train(
    data: Annotated[str, typer.Argument(metavar="DATA", help="A file, or sklearn:NAME.")],
    target: Annotated[str | None, typer.Option(help="The column, or the array of an .npz, to predict.")] = None,
    output: Annotated[Path | None, typer.Option(help="The package's folder; packages/NAME without it.")] = None,
    name: Annotated[str | None, typer.Option(help="The model's name; from DATA without it.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the output folder.")] = False,
    hidden: Annotated[str, typer.Option(help="Neurons of the hidden layers.")] = "128,64",
    activation: Annotated[ActivationName, typer.Option(help="Of the hidden layers.")] = ActivationName.relu,
    epochs: Annotated[int, typer.Option(min=1)] = 60,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Rows of a mini-batch, 32 without it; gd takes the whole data set.")
    ] = None,
    optimiser: Annotated[Optimiser, typer.Option()] = Optimiser.adam,
    learning_rate: Annotated[float | None, typer.Option(help="α at the start; fits the optimiser without it.")] = None,
    schedule: Annotated[ScheduleName, typer.Option(help="dynamic is α ← α·ρ + β·(1 − ρ).")] = ScheduleName.cosine,
    schedule_per: Annotated[Per, typer.Option(help="Whether the rate changes each step or each epoch.")] = Per.step,
    rho: Annotated[float, typer.Option(help="ρ of the dynamic rate.")] = 0.99,
    beta: Annotated[float, typer.Option(help="β of the dynamic rate: where it ends.")] = 1e-4,
    momentum: Annotated[float, typer.Option(help="Of sgd.")] = 0.9,
    weight_decay: Annotated[float, typer.Option(help="Decoupled for adam; a thousandth of it for the others.")] = 0.1,
    validation: Annotated[float, typer.Option(help="Part held back to stop early by.")] = 0.0,
    test: Annotated[float, typer.Option(help="Part held back to measure on.")] = 0.2,
    patience: Annotated[int | None, typer.Option(min=1, help="Stop after so many epochs without gain.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed repeats the run to the bit.")] = 0,
    epsilon: Annotated[
        float | None, typer.Option(help="Train privately: nobody can tell from the model whether a row was in it.")
    ] = None,
    delta: Annotated[float, typer.Option(help="The chance with which ε may fail; below one in the rows.")] = 1e-5,
    clip: Annotated[float, typer.Option(help="The longest gradient of one row in a private run.")] = 0.5,
    feature_range: Annotated[
        str | None, typer.Option(metavar="LOW,HIGH", help="What anybody knows of the features, for a private run.")
    ] = None,
    target_range: Annotated[
        str | None, typer.Option(metavar="LOW,HIGH", help="The same of a regression's targets.")
    ] = None,
    checkpoint_dir: Annotated[Path | None, typer.Option(help="Save where the run stands after each epoch.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint.")] = False,
    plot: Annotated[Path | None, typer.Option(help="Write the curves as a PNG.")] = None,
    history: Annotated[Path | None, typer.Option(help="Write the history as JSON here too.")] = None,
    as_json: AsJson = False,
) -> None:
    """Train a network and package it."""
    try:
        from airserve.cli.training import Recipe, train_to_package
    except ImportError as error:
        fail(f"training needs {error.name}: pip install 'airserve[train]'")
    model = name or _name_of(data)
    folder = output or Path("packages") / model
    _make_room(folder, force)
    recipe = Recipe(
        hidden=_sizes(hidden),
        activation=activation.value,
        epochs=epochs,
        batch_size=batch_size,
        optimiser=optimiser.value,
        learning_rate=learning_rate,
        schedule=schedule.value,
        schedule_per=schedule_per.value,
        rho=rho,
        beta=beta,
        momentum=momentum,
        weight_decay=weight_decay,
        validation=validation,
        test=test,
        patience=patience,
        seed=seed,
        checkpoint_dir=checkpoint_dir,
        resume=resume,
        private=_private(epsilon, delta, clip, feature_range, target_range, early=bool(validation or patience)),
    )
    with _progress(epochs) as on_epoch:
        report = train_to_package(data, folder, name=model, target=target, recipe=recipe, on_epoch=on_epoch)
    if history is not None:
        history.write_text(json.dumps([asdict(epoch) for epoch in report.history], indent=1))
    if plot is not None:
        _plot(report, plot)
    if as_json:
        print_json({**asdict(report), "package": str(report.package)})
    else:
        _print(report)


def _make_room(folder: Path, force: bool) -> None:
    if not folder.exists():
        return
    if not force:
        raise ConflictError(f"{folder} exists already; choose another place with --output, or replace it with --force")
    if not (folder / "airserve.toml").exists():
        raise ConflictError(f"{folder} is no package; it is not replaced")
    shutil.rmtree(folder)


def _name_of(data: str) -> str:
    stem = data.removeprefix("sklearn:") if data.startswith("sklearn:") else Path(data).stem
    return (
        "".join(letter if letter.isalnum() and letter.isascii() else "-" for letter in stem.lower()).strip("-")
        or "model"
    )


def _sizes(text: str) -> tuple[int, ...]:
    try:
        sizes = tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        sizes = (0,)
    if any(not 1 <= size <= 65536 for size in sizes):
        raise InvalidInputError(f"--hidden '{text}' is no list of layer sizes such as 128,64")
    return sizes


def _private(
    epsilon: float | None, delta: float, clip: float, features: str | None, targets: str | None, *, early: bool
) -> PrivateRecipe | None:
    from airserve.cli.private_training import PrivateRecipe

    if epsilon is None:
        return None
    if early:
        raise InvalidInputError(
            "a private run does not stop early: held-back rows would decide which epoch is kept, and ε does not cover "
            "them. Leave --validation and --patience away"
        )
    if features is None:
        raise InvalidInputError(
            "a private run scales its features by what anybody knows of them, since their own mean and spread would "
            "give them away; say it, such as --feature-range 0,16"
        )
    if not epsilon > 0 or not clip > 0:
        raise InvalidInputError("--epsilon and --clip are more than 0")
    return PrivateRecipe(
        epsilon,
        delta,
        clip,
        _range("--feature-range", features),
        None if targets is None else _range("--target-range", targets),
    )


def _range(option: str, text: str) -> tuple[float, float]:
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        low, high = 0.0, 0.0
    if not low < high:
        raise InvalidInputError(f"{option} '{text}' is no range such as 0,16")
    return low, high


@contextmanager
def _progress(epochs: int) -> Iterator[OnEpoch]:
    """A bar with loss, accuracy, rate and time left, on standard error."""
    columns = (
        TextColumn("epoch {task.completed:.0f}/{task.total:.0f}"),
        BarColumn(),
        TextColumn("{task.fields[facts]}"),
    )
    with Progress(*columns, TimeRemainingColumn(), console=error_console) as bar:
        task = bar.add_task("", total=epochs, facts="")

        def on_epoch(epoch: Epoch, total: int) -> None:
            facts = f"loss {epoch.loss:.4f}"
            if epoch.accuracy is not None:
                facts += f"  accuracy {epoch.accuracy:.1%}"
            if epoch.validation_loss is not None:
                facts += f"  validation {epoch.validation_loss:.4f}"
            bar.update(task, completed=epoch.number, total=total, facts=f"{facts}  rate {epoch.rate:.2g}")

        yield on_epoch


def _print(report: Report) -> None:
    if report.confusion is not None and report.labels is not None:
        if len(report.labels) <= 20:
            console.print(_confusion(report.confusion, report.labels))
        console.print(f"held-out accuracy [bold]{report.score:.2%}[/]", highlight=False)
    else:
        console.print(f"held-out R² [bold]{report.score:.4f}[/], RMSE {report.rmse:.4g}", highlight=False)
    if report.privacy is not None:
        spent = report.privacy
        console.print(
            f"private: [bold]ε = {spent['epsilon']:.3g}[/] at δ = {spent['delta']:.0e} for each of "
            f"{spent['rows']} rows (noise {spent['noise']:.3g}, {spent['steps']} steps)",
            highlight=False,
        )
    early = ", stopped early" if report.stopped_early else ""
    console.print(
        f"{report.parameters} parameters, {report.size_bytes / 1000:.1f} kB as ONNX (differs by {report.parity:.1g}), "
        f"{report.epochs} epochs in {report.seconds:.1f} s{early}",
        highlight=False,
    )
    console.print(f"package: {report.package}   next: airserve publish {report.package}", highlight=False)


def _confusion(confusion: list[list[int]], labels: tuple[str, ...]) -> Table:
    table = Table(title="Confusion matrix: a row for each true class", title_justify="left")
    table.add_column("true \\ said")
    for label in labels:
        table.add_column(label, justify="right")
    for label, row in zip(labels, confusion, strict=True):
        table.add_row(label, *(str(count) if count else "·" for count in row))
    return table


def _plot(report: Report, path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    epochs = [epoch.number for epoch in report.history]
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    left.plot(epochs, [epoch.loss for epoch in report.history], label="training")
    if report.history and report.history[0].validation_loss is not None:
        left.plot(epochs, [epoch.validation_loss for epoch in report.history], label="validation")
    left.set(xlabel="epoch", ylabel="loss", yscale="log")
    left.legend()
    if report.metric == "accuracy":
        right.plot(epochs, [epoch.accuracy for epoch in report.history], label="training accuracy")
        right.axhline(report.score, linestyle="--", color="black", label=f"held-out {report.score:.1%}")
        right.legend()
        right.set(xlabel="epoch", ylabel="accuracy")
    else:
        right.plot(epochs, [epoch.rate for epoch in report.history])
        right.set(xlabel="epoch", ylabel="learning rate")
    try:
        figure.savefig(path, dpi=120)
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"the plot cannot be written to {path}: {error}") from None
    finally:
        plt.close(figure)
