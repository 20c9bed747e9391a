"""`airserve embed`: texts as vectors, and how near they are to each other."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import typer
from rich.markup import escape

from airserve.cli.output import AsJson, console, print_json, print_rows
from airserve.cli.service import Ca, Http, HttpVersion, Key, OwnStateDir, TimeoutMs, Url, connect

_SHOWN = 40


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("embed")(embed)


def embed(
    model: Annotated[str, typer.Argument(help="The model's name.")],
    texts: Annotated[list[str], typer.Argument(help="One or more texts.")],
    url: Url = None,
    key: Key = None,
    ca: Ca = None,
    state_dir: OwnStateDir = None,
    http: HttpVersion = Http.auto,
    timeout_ms: TimeoutMs = None,
    as_json: AsJson = False,
) -> None:
    """Embed texts: with `--json` the vectors themselves, else their cosine similarities, 1 for the same meaning.

    Example: `airserve embed minilm "billing question" "how do I pay my bill" "the cat sat on the mat"`
    """
    with connect(url, key, ca, state_dir, http, timeout_ms) as client:
        embeddings = client.embed(model, texts)
    if as_json:
        print_json({"embeddings": embeddings.tolist()})
        return
    directions = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)
    similarities = directions @ directions.T
    rows = [
        {
            "": str(number),
            "text": escape(text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"),
            **{str(other + 1): f"{value:.2f}" for other, value in enumerate(row)},
        }
        for number, (text, row) in enumerate(zip(texts, similarities, strict=True), start=1)
    ]
    print_rows(rows, as_json=False, title=f"{model}: cosine similarities", empty="no texts")
    console.print(f"{len(texts)} × {embeddings.shape[1]} numbers", highlight=False)
