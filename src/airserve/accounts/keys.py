"""Making, listing and revoking API keys. A key's text exists once: in the answer to who made it."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from airserve.accounts.key_format import KeyKind, key_id, key_mac, new_key
from airserve.accounts.tenants import find_tenant
from airserve.core.errors import ConflictError, InvalidInputError, NotFoundError
from airserve.storage import Database, tables

_SHOWN = 4


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """What may be shown of a key. `models` None opens every model; times are UTC nanoseconds."""

    id: str
    kind: str
    tenant: str | None
    prefix: str
    name: str
    models: tuple[str, ...] | None
    created_ns: int
    expires_ns: int | None
    revoked_ns: int | None


def create_key(
    database: Database,
    pepper: bytes,
    *,
    now_ns: int,
    tenant: str | None,
    name: str = "",
    models: Sequence[str] | None = None,
    expires_ns: int | None = None,
) -> tuple[str, KeyInfo]:
    """A new key for `tenant` (name or id), or an operator's where that is None; and what may be shown of it later."""
    kind = KeyKind.OPERATOR if tenant is None else KeyKind.TENANT
    if kind is KeyKind.OPERATOR and models is not None:
        raise InvalidInputError("an operator's key opens no inference route; leave the models away")
    if expires_ns is not None and expires_ns <= now_ns:
        raise InvalidInputError("the key would have expired before its first use; give a time to come")
    key = new_key(kind, secrets.token_bytes)
    with database.write() as connection:
        owner = None if tenant is None else find_tenant(connection, tenant)
        if owner is not None and owner.status == "closed":
            raise ConflictError(f"tenant '{owner.name}' is closed; it gets no new keys")
        prefix = key[: key.index(key_id(key)) + _SHOWN]
        connection.execute(
            tables.api_keys.insert().values(
                id=key_id(key),
                kind=kind.value,
                tenant_id=owner.id if owner else None,
                mac=key_mac(key, pepper),
                prefix=prefix,
                name=name,
                models=None if models is None else json.dumps(sorted(set(models))),
                created_ns=now_ns,
                expires_ns=expires_ns,
            )
        )
    scope = None if models is None else tuple(sorted(set(models)))
    shown = owner.name if owner else None
    return key, KeyInfo(key_id(key), kind.value, shown, prefix, name, scope, now_ns, expires_ns, None)


def list_keys(database: Database, tenant: str | None = None) -> list[KeyInfo]:
    """All keys, or those of one tenant, oldest first."""
    keys, tenants = tables.api_keys.c, tables.tenants.c
    query = (
        sa.select(
            keys.id, keys.kind, tenants.name, keys.prefix, keys.name, keys.models,
            keys.created_ns, keys.expires_ns, keys.revoked_ns,
        )
        .join_from(tables.api_keys, tables.tenants, isouter=True)
        .order_by(keys.created_ns, keys.id)
    )  # fmt: skip
    with database.read() as connection:
        if tenant is not None:
            query = query.where(keys.tenant_id == find_tenant(connection, tenant).id)
        rows = connection.execute(query).all()
    return [KeyInfo(*row[:5], None if row[5] is None else tuple(json.loads(row[5])), *row[6:]) for row in rows]


def revoke_key(database: Database, id_or_key: str, *, now_ns: int) -> str:
    """Revoke a key by its id, or by its whole text; returns the id. A running service follows within a second."""
    wanted = key_id(id_or_key) if id_or_key.startswith("as_") else id_or_key
    columns = tables.api_keys.c
    with database.write() as connection:
        row = connection.execute(sa.select(columns.revoked_ns).where(columns.id == wanted)).first()
        if row is None:
            raise NotFoundError(f"no key '{wanted[:20]}'; see airserve keys list")
        if row[0] is None:
            connection.execute(tables.api_keys.update().where(columns.id == wanted).values(revoked_ns=now_ns))
    return wanted
