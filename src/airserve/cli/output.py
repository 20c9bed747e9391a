"""How every noun prints: a table for people, one JSON document with `--json`; and how it fails.

Exit codes: 0 done; 1 an error of ours or of the server; 2 wrong use of the command; 3 bad input (a file, a
package, a value); 4 not found; 5 refused (key, limit, budget); 6 unreachable or too late.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, NoReturn

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from airserve.core.errors import AirserveError

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]

console = Console()
error_console = Console(stderr=True)

_EXIT_OF_STATUS = {
    400: 3, 413: 3, 415: 3, 401: 5, 402: 5, 403: 5, 429: 5, 404: 4, 405: 4, 409: 3, 503: 6, 504: 6,
}  # fmt: skip


def print_json(value: Any) -> None:
    """One JSON document on standard output, indented."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")


def print_rows(rows: Sequence[Mapping[str, Any]], *, as_json: bool, title: str, empty: str) -> None:
    """Rows with the same keys: a table whose columns are the keys, or a JSON array."""
    if as_json:
        print_json(list(rows))
        return
    if not rows:
        console.print(empty)
        return
    table = Table(title=title, title_justify="left")
    for column in rows[0]:
        # Ids are what the next command needs: other columns give way first.
        table.add_column(column, no_wrap=column == "id")
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    console.print(table)


def fail(message: str, exit_code: int = 1) -> NoReturn:
    """Print why on standard error and leave."""
    error_console.print(f"[bold red]error[/]: {escape(message)}", highlight=False, soft_wrap=True)
    raise typer.Exit(exit_code)


@contextmanager
def errors_as_exit_codes() -> Iterator[None]:
    """Turn the one error family into a sentence and an exit code, never a traceback."""
    try:
        yield
    except AirserveError as error:
        fail(error.message, _EXIT_OF_STATUS.get(error.http_status, 1))
