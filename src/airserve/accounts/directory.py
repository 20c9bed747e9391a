"""The directory: who is behind a key. An immutable snapshot of the database, asked once per call."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

import sqlalchemy as sa

from airserve.accounts.account import UNLIMITED, Account
from airserve.accounts.key_format import is_well_formed, key_mac
from airserve.core.errors import ForbiddenError, MissingKeyError
from airserve.storage import Database, tables

_FOREVER_NS = 1 << 62


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls. `tenant_id` None is an operator; None in `models`, `routes` or `addresses` is no restriction.

    `account` is what the tenant's plan and budgets allow.
    """

    key_id: str
    tenant_id: str | None
    models: frozenset[str] | None
    project_id: str = ""
    routes: frozenset[str] | None = None
    addresses: tuple[IPv4Network | IPv6Network, ...] | None = None
    account: Account = UNLIMITED


@dataclass(frozen=True, slots=True)
class Entry:
    """What the directory knows of one key."""

    principal: Principal
    expires_ns: int
    revoked: bool
    tenant_status: str


class Directory:
    """Every key by the MAC of its whole text. Nothing is ever looked up by a part of a key.

    A key that was found is remembered, whole, for as long as this snapshot lives: the MAC is computed once per
    snapshot, not once per call, which also spares the event loop a call that lets go of the interpreter lock.
    """

    __slots__ = ("_entries", "_found", "_pepper")

    def __init__(self, entries: Mapping[bytes, Entry], pepper: bytes) -> None:
        self._entries = entries
        self._pepper = pepper
        self._found: dict[str, Entry] = {}

    def authenticate(self, presented: str, now_ns: int) -> Principal:
        """The principal behind a key. Raises `MissingKeyError`, or `ForbiddenError` for a suspended tenant."""
        entry = self._found.get(presented) or self._find(presented)
        if entry.revoked:
            raise MissingKeyError("this API key was revoked; ask for a new one")
        if now_ns >= entry.expires_ns:
            raise MissingKeyError("this API key has expired; ask for a new one")
        if entry.tenant_status != "active":
            raise ForbiddenError(f"this account is {entry.tenant_status}; ask the operator")
        return entry.principal

    def _find(self, presented: str) -> Entry:
        if not presented:
            raise MissingKeyError("no API key; send it as 'Authorization: Bearer as_live_…'")
        if not is_well_formed(presented):
            raise MissingKeyError("this is no Airserve API key: mistyped or cut off; copy it again, whole")
        entry = self._entries.get(key_mac(presented, self._pepper))
        if entry is None:
            raise MissingKeyError("this API key is not known here; ask for a new one")
        self._found[presented] = entry
        return entry


def load_directory(database: Database, pepper: bytes) -> Directory:
    """The directory as the database is now."""
    keys, tenants = tables.api_keys.c, tables.tenants.c
    query = sa.select(
        keys.mac, keys.id, keys.tenant_id, keys.models, keys.expires_ns, keys.revoked_ns, tenants.status
    ).join_from(tables.api_keys, tables.tenants, isouter=True)
    with database.read() as connection:
        rows = connection.execute(query).all()
    entries = {}
    for mac, id_, tenant_id, models, expires_ns, revoked_ns, status in rows:
        scope = None if models is None else frozenset(json.loads(models))
        entries[mac] = Entry(
            principal=Principal(id_, tenant_id, scope),
            expires_ns=_FOREVER_NS if expires_ns is None else expires_ns,
            revoked=revoked_ns is not None,
            tenant_status=status or "active",
        )
    return Directory(entries, pepper)
