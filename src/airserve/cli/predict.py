"""`airserve predict`: one call to a published model, from a file."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from airserve.cli.link_options import (
    Accuracy,
    Deadline,
    Explain,
    FallbackTo,
    explanation,
    link_options,
    print_explanation,
)
from airserve.cli.output import AsJson, console, print_json, print_rows
from airserve.cli.service import Ca, Http, HttpVersion, Key, OwnStateDir, TimeoutMs, Url, connect
from airserve.core.errors import InvalidInputError, NotFoundError
from airserve.core.tensor import NUMPY_OF


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("predict")(predict)


def predict(
    model: Annotated[str, typer.Argument(help="The model's name.")],
    file: Annotated[str, typer.Argument(help=".npy, .npz, .csv or .json; - for JSON on standard input.")],
    url: Url = None,
    key: Key = None,
    ca: Ca = None,
    state_dir: OwnStateDir = None,
    version: Annotated[str | None, typer.Option(help="An exact version.")] = None,
    http: HttpVersion = Http.auto,
    timeout_ms: TimeoutMs = None,
    sealed: Annotated[bool, typer.Option("--sealed", help="Seal the call to the model's own process.")] = False,
    sealed_identity: Annotated[
        str | None, typer.Option(envvar="AIRSERVE_SEALED_IDENTITY", help="With --sealed: whose keys to trust.")
    ] = None,
    variant: Annotated[str | None, typer.Option(help="Of a model served in several variants: this one alone.")] = None,
    min_accuracy: Annotated[float | None, typer.Option(min=0, help="No variant less accurate than this.")] = None,
    deadline: Deadline = None,
    accuracy: Accuracy = None,
    fallback: FallbackTo = None,
    explain: Explain = False,
    timings: Annotated[bool, typer.Option("--timings", help="Say where the time went.")] = False,
    as_json: AsJson = False,
) -> None:
    """Ask a model. JSON is `{"x": [[…]]}` or, for a model with one input, the bare list.

    Example: `airserve predict digits scan.npy` · `echo '{"x": [[0, 0, 5, …]]}' | airserve predict digits -`
    """
    with connect(url, key, ca, state_dir, http, timeout_ms, sealed_identity) as client:
        inputs = _fit(_read(file), client.metadata(model, version=version)["inputs"])
        link = link_options(deadline, accuracy, fallback, explain=explain)
        outputs = client.infer(
            model, inputs, version=version, sealed=sealed, variant=variant, min_accuracy=min_accuracy, **link
        )
        last = client.last
    readable = {name: _readable(array) for name, array in outputs.items()}
    if as_json:
        told: dict[str, Any] = {"timings": asdict(last)} if timings and last else {}
        if outputs.variant is not None:
            told |= {"variant": outputs.variant, "accuracy": outputs.accuracy}
        print_json({"outputs": readable, **told, **({"alternatives": explanation(outputs)} if explain else {})})
        return
    rows = len(next(iter(readable.values())))
    table = [{name: _short(values[row]) for name, values in readable.items()} for row in range(rows)]
    print_rows(table, as_json=False, title=model, empty="no rows")
    if outputs.variant is not None:
        console.print(f"answered by {outputs.variant}, accuracy {outputs.accuracy:g}", highlight=False)
    if explain:
        print_explanation(outputs)
    if timings and last:
        console.print(
            f"queue {last.queue_ms:.2f} ms, compute {last.compute_ms:.2f} ms, service {last.total_ms:.2f} ms, "
            f"round trip {last.round_trip_ms:.2f} ms",
            highlight=False,
        )


def _read(file: str) -> Any:
    """An array, or a mapping of names to arrays or lists."""
    if file == "-":
        return _json(sys.stdin.read(), "standard input")
    path = Path(file)
    if not path.is_file():
        raise NotFoundError(f"{file} does not exist")
    try:
        if path.suffix == ".npy":
            return np.load(path, allow_pickle=False)
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        if path.suffix == ".csv":
            return np.loadtxt(path, delimiter=",", ndmin=2, dtype=np.float32)
    except ValueError as error:
        raise InvalidInputError(f"{file} cannot be read: {error}") from None
    return _json(path.read_text(errors="replace"), file)


def _json(text: str, source: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise InvalidInputError(f"{source} is no JSON: {error}") from None


def _fit(given: Any, specs: list[dict[str, Any]]) -> dict[str, np.ndarray[Any, Any]]:
    """Inputs by name, in the model's dtypes; one row alone gets its batch axis."""
    if not isinstance(given, Mapping):
        if len(specs) != 1:
            names = ", ".join(spec["name"] for spec in specs)
            raise InvalidInputError(f"the model has the inputs {names}; name them, as in an .npz or a JSON object")
        given = {specs[0]["name"]: given}
    fitted = {}
    for spec in specs:
        if spec["name"] not in given:
            raise InvalidInputError(f"input '{spec['name']}' is missing; there are {', '.join(map(str, given))}")
        try:
            array = np.asarray(given[spec["name"]], NUMPY_OF[spec["datatype"]])
        except (ValueError, TypeError) as error:
            raise InvalidInputError(f"input '{spec['name']}' cannot become {spec['datatype']}: {error}") from None
        fitted[spec["name"]] = array[None] if array.ndim == len(spec["shape"]) - 1 else array
    return fitted


def _readable(array: np.ndarray[Any, Any]) -> Any:
    if array.dtype == object:
        texts = [element.decode("utf-8", "replace") for element in array.ravel()]
        return np.array(texts, dtype=object).reshape(array.shape).tolist()
    return array.tolist()


def _short(value: Any) -> str:
    if isinstance(value, list):
        return "[" + " ".join(_short(each) for each in value[:16]) + (" …]" if len(value) > 16 else "]")
    return f"{value:.4g}" if isinstance(value, float) else str(value)
