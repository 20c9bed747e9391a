"""Bring a database to the newest schema, by Alembic."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

if TYPE_CHECKING:
    from alembic.config import Config

HEAD = "0008"
"""The newest revision; a test holds it against the migrations."""


def upgrade(connection: sa.Connection, revision: str = "head") -> None:
    """Migrate forward to `revision`, all or nothing."""
    # Alembic costs a third of a second to import, and a database is rarely out of date.
    from alembic import command

    connection.exec_driver_sql("BEGIN IMMEDIATE")
    try:
        command.upgrade(config(connection), revision)
    except BaseException:
        connection.exec_driver_sql("ROLLBACK")
        raise
    connection.exec_driver_sql("COMMIT")


def config(connection: sa.Connection) -> Config:
    """Alembic's configuration: the scripts beside this file, over an open connection."""
    from alembic.config import Config

    settings = Config()
    settings.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    settings.attributes["connection"] = connection
    return settings
