"""The state folder, as every noun of the operator takes it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from airserve.cli.output import error_console, fail

if TYPE_CHECKING:
    from airserve.models.catalog import Catalog
    from airserve.server.settings import Settings
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


def settings_of(state_dir: Path) -> Settings:
    """The settings in force for the state folder: its file, and the environment."""
    try:
        from airserve.server.settings import load_settings
    except ImportError as error:
        _needs_server(error)
    return load_settings(state_dir)


@contextmanager
def open_database(state_dir: Path) -> Iterator[Database]:
    """The database of the state folder, or the one that its settings name; made where needed."""
    settings = settings_of(state_dir)
    try:
        from airserve.server import installation
    except ImportError as error:
        _needs_server(error)
    database = installation.open_database(settings)
    try:
        yield database
        _sign_log(settings.state_dir, database)
    finally:
        database.close()


@contextmanager
def open_catalog(state_dir: Path) -> Iterator[Catalog]:
    """The catalog of the state folder."""
    with open_database(state_dir) as database:
        from airserve.server import installation

        yield installation.open_catalog(settings_of(state_dir), database)


def _sign_log(state_dir: Path, database: Database) -> None:
    """Sign what this command did; a log that is damaged is told of, by `airserve log verify` in full."""
    import time

    from airserve.core.errors import DamagedLogError
    from airserve.storage.audit_checkpoints import sign_newest

    try:
        sign_newest(database, state_dir, now_ns=time.time_ns())
    except DamagedLogError as error:
        error_console.print(f"not signed: {error.message}; see airserve log verify", highlight=False)


def pepper_of(state_dir: Path, database: Database) -> bytes:
    """The secret under which `database` hashes keys."""
    from airserve.server import installation

    return installation.load_pepper(settings_of(state_dir), database)


def _needs_server(error: ImportError) -> NoReturn:
    fail(f"this command needs the server's packages ({error.name}): pip install 'airserve[server]'")


def utc(ns: int | None) -> str | None:
    """A moment in UTC nanoseconds, as a person reads it."""
    import datetime as dt

    return None if ns is None else f"{dt.datetime.fromtimestamp(ns / 1e9, dt.UTC):%Y-%m-%d %H:%M:%S}"
