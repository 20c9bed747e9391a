"""`airserve classify`: what is on a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from airserve.cli.link_options import (
    Accuracy,
    Deadline,
    Explain,
    FallbackTo,
    explanation,
    link_options,
    print_explanation,
)
from airserve.cli.output import AsJson, print_json, print_rows
from airserve.cli.service import Ca, Http, HttpVersion, Key, OwnStateDir, TimeoutMs, Url, connect


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("classify")(classify)


def classify(
    model: Annotated[str, typer.Argument(help="The model's name.")],
    files: Annotated[list[Path], typer.Argument(help="JPEG, PNG or WebP files.")],
    top: Annotated[int | None, typer.Option(min=1, help="Labels a picture; as many as the model gives.")] = None,
    url: Url = None,
    key: Key = None,
    ca: Ca = None,
    state_dir: OwnStateDir = None,
    http: HttpVersion = Http.auto,
    timeout_ms: TimeoutMs = None,
    deadline: Deadline = None,
    accuracy: Accuracy = None,
    fallback: FallbackTo = None,
    explain: Explain = False,
    as_json: AsJson = False,
) -> None:
    """Name what is on pictures, the likeliest first.

    Example: `airserve classify efficientnet cat.jpg dog.jpg --top 3`
    """
    from airserve.client.pictures import OUTPUTS, parse_labels, picture_inputs

    with connect(url, key, ca, state_dir, http, timeout_ms) as client:
        link = link_options(deadline, accuracy, fallback, explain=explain)
        answers = {file: client.infer(model, picture_inputs(file), outputs=OUTPUTS, **link) for file in files}
    found = {file: parse_labels(answer, top) for file, answer in answers.items()}
    if as_json:
        print_json(
            [
                {
                    "file": str(file),
                    "labels": [{"label": label, "probability": probability} for label, probability in labels],
                    **({"alternatives": explanation(answers[file])} if explain else {}),
                }
                for file, labels in found.items()
            ]
        )
        return
    rows = [
        {"file": escape(str(file)) if place == 0 else "", "label": escape(label), "probability": f"{probability:.1%}"}
        for file, labels in found.items()
        for place, (label, probability) in enumerate(labels)
    ]
    print_rows(rows, as_json=False, title=model, empty="no labels")
    for answer in answers.values() if explain else ():
        print_explanation(answer)
