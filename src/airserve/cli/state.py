"""The state folder, as every noun of the operator takes it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from airserve.cli.output import fail

if TYPE_CHECKING:
    from airserve.models.catalog import Catalog
    from airserve.storage import Database

StateDir = Annotated[
    Path,
    typer.Option(
        "--state-dir",
        envvar="AIRSERVE_STATE_DIR",
        help="Where database, models, journal and keys live.",
        default_factory=lambda: Path.home() / ".airserve",
        show_default="~/.airserve",
    ),
]


@contextmanager
def open_database(state_dir: Path) -> Iterator[Database]:
    """The database of the state folder, made where needed."""
    try:
        from airserve.storage import Database
    except ImportError as error:
        fail(f"this command needs the server's packages ({error.name}): pip install 'airserve[server]'")
    database = Database.open(state_dir.expanduser().resolve())
    try:
        yield database
    finally:
        database.close()


@contextmanager
def open_catalog(state_dir: Path) -> Iterator[Catalog]:
    """The catalog of the state folder."""
    with open_database(state_dir) as database:
        from airserve.models.catalog import Catalog

        yield Catalog(database, state_dir.expanduser().resolve() / "store")


def utc(ns: int | None) -> str | None:
    """A moment in UTC nanoseconds, as a person reads it."""
    import datetime as dt

    return None if ns is None else f"{dt.datetime.fromtimestamp(ns / 1e9, dt.UTC):%Y-%m-%d %H:%M:%S}"
