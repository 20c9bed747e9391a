"""The command and its nouns, put together."""

from __future__ import annotations

import importlib
import sys

import typer
from typer.core import TyperGroup

from airserve.cli.output import errors_as_exit_codes

_NOUNS = (
    "up",
    "train",
    "publish",
    "import_",
    "models",
    "rollout",
    "sign",
    "store",
    "payloads",
    "predict",
    "classify",
    "chat",
    "embed",
    "tenants",
    "projects",
    "members",
    "keys",
    "authorities",
    "plans",
    "subscribe",
    "budgets",
    "usage",
    "prices",
    "invoices",
    "webhooks",
    "payments",
    "audit",
    "journal",
    "log",
    "db",
    "nodes",
    "drift",
    "sealed",
    "split",
    "optimise",
    "lab",
    "demo",
    "doctor",
)


class _ErrorsAsExitCodes(TyperGroup):
    def invoke(self, ctx):  # type: ignore[no-untyped-def]  # click's own signature is untyped here
        with errors_as_exit_codes():
            return super().invoke(ctx)


app = typer.Typer(
    name="airserve",
    cls=_ErrorsAsExitCodes,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="AI as a service over 5G: train, publish, serve, meter and invoice models from one tool.",
)


@app.callback()
def airserve() -> None:
    """Keep the noun in the command even where it is the only one that was imported."""


def main() -> None:
    """Entry point of the `airserve` command."""
    # A command line that begins with a noun needs no other: all of them take a quarter of a second to import.
    asked = [noun for noun in _NOUNS if noun.rstrip("_") in sys.argv[1:2]]
    for noun in asked or _NOUNS:
        importlib.import_module(f"airserve.cli.{noun}").register(app)
    app()
