"""The pepper: the secret under which keys are hashed, kept beside the database, not in it. Without it no key works."""

from __future__ import annotations

import hmac
from pathlib import Path

import sqlalchemy as sa

from airserve.core.errors import ConflictError
from airserve.storage import Database, tables
from airserve.storage.secret_file import load_or_create_secret

FILE_NAME = "pepper"
_LENGTH = 32
_CHECK = "pepper check"


def load_or_create_pepper(state_dir: Path, file: Path | None = None) -> bytes:
    """The 32 bytes of `file`, else of `state_dir/pepper`, made at first use; servers of one database need the same."""
    return load_or_create_secret(file or state_dir / FILE_NAME, _LENGTH)


def check_pepper(database: Database, pepper: bytes, path: Path) -> None:
    """Raise `ConflictError` where the keys of `database` were hashed under another pepper than this one of `path`.

    The first pepper that a database sees is its pepper from then on.
    """
    rows = tables.installation.c
    query = sa.select(rows.value).where(rows.name == _CHECK)
    with database.read() as connection:
        known = connection.scalar(query)
    if known is None:
        with database.write(announce=False) as connection:
            known = connection.scalar(query)
            if known is None:
                known = _check_value(pepper)
                connection.execute(tables.installation.insert().values(name=_CHECK, value=known))
    if not hmac.compare_digest(known, _check_value(pepper)):
        raise ConflictError(
            f"{path} is not the pepper under which this database keeps its keys, so none of them would work. Copy the "
            "file `pepper` of the server that made the database, or of its backup, to this place; or name it with "
            "pepper_file"
        )


def refuse_new_pepper(database: Database, path: Path) -> None:
    """Raise `ConflictError` where `database` has a pepper already, so that a new one at `path` would be wrong."""
    rows = tables.installation.c
    with database.read() as connection:
        if connection.scalar(sa.select(rows.value).where(rows.name == _CHECK)) is not None:
            raise ConflictError(
                f"{path} is missing: the secret under which this database keeps its keys. Copy the file `pepper` of "
                "the server that made the database, or of its backup, to this place; or name it with pepper_file"
            )


def _check_value(pepper: bytes) -> str:
    """Tells peppers apart and says nothing about one: 256 random bits are not guessed from their MAC."""
    return hmac.digest(pepper, b"airserve pepper check", "sha256").hex()
