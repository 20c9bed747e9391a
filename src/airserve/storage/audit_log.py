"""Who did what: a log in which each row is chained to the one before by SHA-256.

A row is written in the transaction of the change that it tells of: either both are there or none. Its hash is

    SHA-256(hash of the row before, in hex ‖ "\\n" ‖ JSON array of the row)

where the array is `[seq, at_ns, actor, action, object_id, tenant_id, before, after]` as JSON in UTF-8 without spaces,
characters beyond ASCII as they are; the first row follows 64 zeros. So nobody can change, remove, insert or reorder a
row without changing the hash of every later one, and signed checkpoints (`audit_checkpoints.py`) fix those.
"""

from __future__ import annotations

import getpass
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import msgspec
import sqlalchemy as sa

from airserve.core.errors import DamagedLogError
from airserve.storage.database import Database
from airserve.storage.tables import audit_log

GENESIS = "0" * 64
_PAGE = 1_000


@dataclass(frozen=True, slots=True)
class LogRow:
    """One action. `before` and `after` are canonical JSON or None; `tenant_id` None is of the whole service."""

    seq: int
    at_ns: int
    actor: str
    action: str
    object_id: str
    tenant_id: str | None
    before: str | None
    after: str | None
    previous_hash: str
    hash: str


def record(
    connection: sa.Connection,
    *,
    actor: str | None,
    action: str,
    object_id: str,
    before: Any = None,
    after: Any = None,
    now_ns: int,
    tenant_id: str | None = None,
) -> LogRow:
    """Append what was done to the log, in the caller's transaction.

    `actor` is `operator:NAME`, `member:EMAIL` or `key:ID`; None is the user of this machine who runs the program.
    `before` and `after` are what can be told of the object as JSON (a mapping, a struct, a dataclass), never a secret.
    """
    last = connection.execute(sa.select(audit_log.c.seq, audit_log.c.hash).order_by(audit_log.c.seq.desc())).first()
    seq, previous = (1, GENESIS) if last is None else (last.seq + 1, last.hash)
    fields = (seq, now_ns, actor or local_operator(), action, object_id, tenant_id, canonical(before), canonical(after))
    row = LogRow(*fields, previous, chained_hash(previous, fields))
    connection.execute(audit_log.insert().values({name: getattr(row, name) for name in LogRow.__slots__}))
    return row


def local_operator() -> str:
    """Who runs this program, as the log names them."""
    try:
        return f"operator:{getpass.getuser()}"
    except (OSError, KeyError):
        # A container may run under a number that has no name.
        import os

        return f"operator:uid {os.getuid()}"


def canonical(value: Any) -> str | None:
    """A value as JSON with sorted keys and without spaces: equal values give equal text. None stays None."""
    return None if value is None else msgspec.json.encode(value, order="sorted").decode()


def chained_hash(previous: str, fields: Iterable[Any]) -> str:
    """The hash of a row, from the hash before it and its fields without hashes."""
    text = json.dumps(list(fields), ensure_ascii=False, separators=(",", ":"))
    return sha256(f"{previous}\n{text}".encode()).hexdigest()


def rows(connection: sa.Connection, *, after: int = 0, tenant_id: str | None = None) -> Iterator[LogRow]:
    """The rows behind number `after`, oldest first; of one tenant, or all."""
    while True:
        query = sa.select(audit_log).where(audit_log.c.seq > after).order_by(audit_log.c.seq).limit(_PAGE)
        if tenant_id is not None:
            query = query.where(audit_log.c.tenant_id == tenant_id)
        page = [LogRow(*row) for row in connection.execute(query)]
        yield from page
        if len(page) < _PAGE:
            return
        after = page[-1].seq


def newest_rows(database: Database, count: int, tenant_id: str | None = None) -> list[LogRow]:
    """The last `count` rows, oldest first; of one tenant, or all."""
    query = sa.select(audit_log).order_by(audit_log.c.seq.desc()).limit(count)
    if tenant_id is not None:
        query = query.where(audit_log.c.tenant_id == tenant_id)
    with database.read() as connection:
        return [LogRow(*row) for row in connection.execute(query)][::-1]


def follow_chain(log: Iterable[LogRow], seq: int = 0, hash: str = GENESIS) -> Iterator[LogRow]:
    """The rows again, each held against the one before; `seq` and `hash` are those of the row before the first.

    Raises `DamagedLogError` at the first row that is missing, out of place or not what was written.
    """
    for row in log:
        if row.seq != seq + 1:
            raise DamagedLogError(f"row {seq + 1} of the log is missing: row {row.seq} is in its place")
        fields = [getattr(row, name) for name in LogRow.__slots__[:-2]]
        if row.previous_hash != hash or row.hash != chained_hash(hash, fields):
            raise DamagedLogError(f"row {row.seq} of the log was changed after it was written, or the row before it")
        seq, hash = row.seq, row.hash
        yield row


def as_mapping(row: LogRow) -> Mapping[str, Any]:
    """A row by its names, `before` and `after` as JSON text: what an export holds."""
    return {name: getattr(row, name) for name in LogRow.__slots__}
