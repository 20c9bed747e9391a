"""What there is to say of an installation's database, and who is using it."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from airserve.core.errors import ConflictError
from airserve.server.installation import journal_folder, node_id, store_folder
from airserve.server.settings import Settings
from airserve.storage import Database, tables
from airserve.storage.migrate import current_revision
from airserve.storage.sqlite import FILE_NAME

SERVING_LOCK = "serving.lock"

_VERSION = {"sqlite": "SELECT sqlite_version()", "postgresql": "SHOW server_version"}
_SIZE = {
    "sqlite": "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()",
    "postgresql": "SELECT pg_database_size(current_database())",
}
_OTHERS = sa.text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'airserve' "
    "AND pid <> pg_backend_pid()"
)


def database_status(settings: Settings, database: Database) -> dict[str, Any]:
    """Kind, place, version and revision of the database, sizes in bytes, and the rows of each table."""
    with database.read() as connection:
        rows = {
            table.name: connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
            for table in tables.metadata.sorted_tables
        }
        version = connection.exec_driver_sql(_VERSION[database.dialect]).scalar_one()
        size = connection.exec_driver_sql(_SIZE[database.dialect]).scalar_one()
        revision = current_revision(connection)
    return {
        "database": database.dialect,
        "place": _place(settings),
        "version": version,
        "revision": revision,
        "node": node_id(settings),
        "size_bytes": size,
        "journal_bytes": _size(journal_folder(settings)),
        "packages_bytes": _size(store_folder(settings)),
        "rows": rows,
    }


def refuse_while_served(settings: Settings, database: Database) -> None:
    """Raise `ConflictError` while a server works on the database: an older schema would break it."""
    try:
        with (settings.state_dir / SERVING_LOCK).open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise ConflictError(f"{settings.state_dir} is being served; stop the service first") from None
    if database.dialect == "postgresql":
        with database.read() as connection:
            others = connection.execute(_OTHERS).scalar_one()
        if others:
            raise ConflictError(
                f"{others} connections of other servers or commands use the database; stop those servers first"
            )


def _place(settings: Settings) -> str:
    if settings.database_url is None:
        return str(settings.state_dir / FILE_NAME)
    return sa.make_url(settings.database_url).render_as_string(hide_password=True)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
