"""Replacing a key by another with the same scope, budgets and usage, while both are good for a while."""

from __future__ import annotations

import json

from airserve.accounts.keys import KeyInfo, find_key, insert_key, refuse_wider
from airserve.accounts.principal import Principal
from airserve.core.errors import ConflictError, InvalidInputError
from airserve.storage import Database, tables
from airserve.storage.audit_log import record
from airserve.storage.outbox import announce

MAX_OVERLAP_NS = 24 * 3600 * 10**9
"""The longest that two keys are good for one purpose, and the time that is taken where none is given."""


def rotate_key(
    database: Database,
    pepper: bytes,
    id_or_key: str,
    *,
    now_ns: int,
    overlap_ns: int = MAX_OVERLAP_NS,
    creator: Principal | None = None,
    actor: str | None = None,
) -> tuple[str, KeyInfo]:
    """A new key in place of another, which stops `overlap_ns` from now; the new one ends when the old one would have.

    Usage and budgets go on under the first key of the chain. `creator` is whose key asked for it over the API: it may
    replace itself, or what its role lets it. Raises `ConflictError` for a key that is revoked, expired or replaced.
    """
    if not 0 <= overlap_ns <= MAX_OVERLAP_NS:
        raise InvalidInputError("the old key stays good for 0 to 24 hours beside the new one")
    with database.write() as connection:
        before = find_key(connection, id_or_key)
        if creator is not None and creator.credential_id != before.id:
            refuse_wider(connection, creator, before.tenant_id, before.kind, before.scope, before.expires_ns)
        _refuse_dead(before, now_ns)
        actor = actor or (creator.actor if creator else None)
        values: dict[str, str | int | None] = {
            name: getattr(before, name)
            for name in ("kind", "tenant_id", "project_id", "member_id", "name", "expires_ns", "cert_sha256")
        }
        for part in ("models", "routes", "addresses"):
            names = getattr(before, part)
            values[part] = None if names is None else json.dumps(names)
        values["counted_as"] = before.counted_as or before.id
        key, info = insert_key(connection, pepper, values, now_ns=now_ns, actor=actor)
        stops_ns = min(now_ns + overlap_ns, before.expires_ns or now_ns + overlap_ns)
        keys = tables.api_keys
        connection.execute(keys.update().where(keys.c.id == before.id).values(replaced_by=info.id, expires_ns=stops_ns))
        record(
            connection, actor=actor, action="key.rotate", object_id=before.id, before=before, after=info,
            now_ns=now_ns, tenant_id=before.tenant_id,
        )  # fmt: skip
        told = {"id": before.id, "name": before.name, "replaced_by": info.id, "stops_ns": stops_ns}
        announce(connection, "key.rotated", told, key=before.id, now_ns=now_ns, tenant_id=before.tenant_id)
    return key, info


def _refuse_dead(key: KeyInfo, now_ns: int) -> None:
    if key.revoked_ns is not None:
        raise ConflictError(f"key {key.id} was revoked; make a new one")
    if key.replaced_by is not None:
        raise ConflictError(f"key {key.id} was replaced by {key.replaced_by} already; replace that one")
    if key.expires_ns is not None and key.expires_ns <= now_ns:
        raise ConflictError(f"key {key.id} has expired; make a new one")
