"""Options of the commands that call a model over a slow link, and the table of what could have been done."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from airserve.cli.output import console, print_rows

if TYPE_CHECKING:
    from airserve.client.link.answer import Answer
    from airserve.client.link.ask import LinkOptions


class Fallback(StrEnum):
    """Who answers where the cloud cannot in time."""

    device = "device"


Deadline = Annotated[float | None, typer.Option("--deadline", help="Seconds for the answer, such as 0.08.")]
Accuracy = Annotated[
    float | None, typer.Option("--accuracy", help="The least accuracy, as a part of the whole model's: 0.99.")
]
FallbackTo = Annotated[Fallback | None, typer.Option("--fallback", help="Who answers where the cloud cannot in time.")]
Explain = Annotated[bool, typer.Option("--explain", help="Show every place and codec with its predicted time.")]


def link_options(
    deadline: float | None, accuracy: float | None, fallback: Fallback | None, *, explain: bool
) -> LinkOptions:
    """Those that were given, as the client takes them."""
    options: LinkOptions = {}
    if deadline is not None:
        options["deadline"] = deadline
    if accuracy is not None:
        options["accuracy"] = accuracy
    if fallback is not None:
        options["fallback"] = "device"
    if explain:
        options["explain"] = True
    return options


def explanation(answer: Answer) -> list[dict[str, Any]]:
    """A row for each alternative; `actual_ms` is that of the one that answered."""
    return [
        {
            "place": each.place,
            "codec": each.codec,
            "accuracy": None if each.accuracy is None else round(each.accuracy, 4),
            "predicted_ms": round(each.predicted_ms, 1),
            "p95_ms": round(each.predicted_p95_ms, 1),
            "bytes": each.up_bytes,
            "joules": round(each.joules, 2),
            "chosen": "yes" if each.chosen else "",
            "actual_ms": None if each.actual_ms is None else round(each.actual_ms, 1),
        }
        for each in answer.explanation
    ]


def print_explanation(answer: Answer) -> None:
    """Where the answer came from, and what else there was."""
    console.print(f"answered by the {answer.place} in {answer.elapsed_ms:.1f} ms", highlight=False)
    print_rows(explanation(answer), as_json=False, title="alternatives", empty="no alternatives")
