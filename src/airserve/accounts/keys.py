"""Making, listing and revoking API keys. A key's text exists once: in the answer to who made it."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from airserve.accounts.key_format import KeyKind, key_id, key_mac, new_key
from airserve.accounts.members import find_member
from airserve.accounts.principal import Principal
from airserve.accounts.projects import DEFAULT_PROJECT, find_project
from airserve.accounts.roles import Action, require
from airserve.accounts.scope import Scope, scope_of
from airserve.accounts.tenant import find_tenant, open_tenant
from airserve.core.errors import ConflictError, ForbiddenError, InvalidInputError, NotFoundError
from airserve.storage import Database, tables
from airserve.storage.audit_log import local_operator, record
from airserve.storage.outbox import announce

_SHOWN = 4
_MAX_NAME = 100
_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """What may be shown of a key. None in `models`, `routes`, `addresses` opens all; times are UTC nanoseconds.

    `last_used_ns` is exact to a minute. `counted_as` is the key under which usage and budgets are counted: the first
    of a chain of replacements.
    """

    id: str
    kind: str
    tenant: str | None
    prefix: str
    name: str
    models: tuple[str, ...] | None
    created_ns: int
    expires_ns: int | None
    revoked_ns: int | None
    tenant_id: str | None = None
    project: str | None = None
    project_id: str | None = None
    member: str | None = None
    member_id: str | None = None
    routes: tuple[str, ...] | None = None
    addresses: tuple[str, ...] | None = None
    not_before_ns: int | None = None
    replaced_by: str | None = None
    counted_as: str | None = None
    created_by: str = ""
    cert_sha256: str | None = None
    last_used_ns: int | None = None

    @property
    def scope(self) -> Scope:
        """What the key opens."""
        return scope_of(self.models, self.routes, self.addresses)


def create_key(
    database: Database,
    pepper: bytes,
    *,
    now_ns: int,
    tenant: str | None,
    name: str = "",
    models: Sequence[str] | None = None,
    expires_ns: int | None = None,
    project: str | None = None,
    member: str | None = None,
    routes: Sequence[str] | None = None,
    addresses: Sequence[str] | None = None,
    not_before_ns: int | None = None,
    cert_sha256: str | None = None,
    creator: Principal | None = None,
    actor: str | None = None,
) -> tuple[str, KeyInfo]:
    """A new key, and what may be shown of it later.

    It is of a service in `project` of `tenant` (names or ids; the project `default` without one), of a `member` of the
    tenant (address or id), or an operator's where `tenant` is None. `creator` is whose key asked for it over the API:
    the new one opens nothing that this one does not, and lives no longer. None is whoever may write the database.
    """
    scope = scope_of(models, routes, addresses)
    if tenant is None and scope != Scope(addresses=scope.addresses):
        raise InvalidInputError("an operator's key opens no inference route; leave models and routes away")
    _check_times(now_ns, not_before_ns, expires_ns)
    if cert_sha256 is not None and not _SHA256.fullmatch(cert_sha256):
        raise InvalidInputError("a certificate is named by the SHA-256 of its DER form: 64 hex digits in lower case")
    if len(name) > _MAX_NAME or not (name.isprintable() or not name):
        raise InvalidInputError(f"a key's name is at most {_MAX_NAME} printable characters")
    values = {
        "name": name,
        "models": _as_json(scope.models),
        "routes": _as_json(scope.routes),
        "addresses": None if scope.addresses is None else json.dumps([str(each) for each in scope.addresses]),
        "not_before_ns": not_before_ns,
        "expires_ns": expires_ns,
        "cert_sha256": cert_sha256,
    }
    with database.write() as connection:
        owner = _owner(connection, tenant, project, member)
        refuse_wider(connection, creator, owner["tenant_id"], owner["kind"], scope, expires_ns)
        actor = actor or (creator.actor if creator else None)
        key, info = insert_key(connection, pepper, {**values, **owner}, now_ns=now_ns, actor=actor)
        record(
            connection, actor=actor, action="key.create", object_id=info.id, after=info, now_ns=now_ns,
            tenant_id=info.tenant_id,
        )  # fmt: skip
        told = {"id": info.id, "name": info.name}
        announce(connection, "key.created", told, key=info.id, now_ns=now_ns, tenant_id=info.tenant_id)
    return key, info


def insert_key(
    connection: sa.Connection, pepper: bytes, values: dict[str, str | int | None], *, now_ns: int, actor: str | None
) -> tuple[str, KeyInfo]:
    """Write a new key with these columns, in the caller's transaction."""
    key = new_key(KeyKind(values["kind"]), secrets.token_bytes)
    connection.execute(
        tables.api_keys.insert().values(
            **values,
            id=key_id(key),
            mac=key_mac(key, pepper),
            prefix=key[: key.index(key_id(key)) + _SHOWN],
            created_ns=now_ns,
            created_by=actor or local_operator(),
        )
    )
    return key, find_key(connection, key_id(key))


def list_keys(database: Database, tenant: str | None = None) -> list[KeyInfo]:
    """All keys, or those of one tenant, oldest first."""
    with database.read() as connection:
        if tenant is None:
            return _keys(connection)
        return _keys(connection, tables.api_keys.c.tenant_id == find_tenant(connection, tenant).id)


def find_key(connection: sa.Connection, id_or_key: str, tenant_id: str | None = None) -> KeyInfo:
    """The key with this id or this whole text, of this tenant (None: anybody's). Raises `NotFoundError`."""
    wanted = key_id(id_or_key) if id_or_key.startswith("as_") else id_or_key
    found = _keys(connection, tables.api_keys.c.id == wanted)
    if not found or (tenant_id is not None and found[0].tenant_id != tenant_id):
        raise NotFoundError(f"no key '{wanted[:20]}'; see airserve keys list")
    return found[0]


def revoke_key(
    database: Database, id_or_key: str, *, now_ns: int, tenant_id: str | None = None, actor: str | None = None
) -> str:
    """Revoke a key by its id, or by its whole text; returns the id. A running service follows within a second.

    `tenant_id` is whose it must be; None is anybody's.
    """
    with database.write() as connection:
        before = find_key(connection, id_or_key, tenant_id)
        if before.revoked_ns is None:
            keys = tables.api_keys
            connection.execute(keys.update().where(keys.c.id == before.id).values(revoked_ns=now_ns))
            record(
                connection, actor=actor, action="key.revoke", object_id=before.id, before=before,
                after=find_key(connection, before.id), now_ns=now_ns, tenant_id=before.tenant_id,
            )  # fmt: skip
            told = {"id": before.id, "name": before.name}
            announce(connection, "key.revoked", told, key=before.id, now_ns=now_ns, tenant_id=before.tenant_id)
    return before.id


def _owner(
    connection: sa.Connection, tenant: str | None, project: str | None, member: str | None
) -> dict[str, str | None]:
    """The columns that say whose a key is."""
    if tenant is None:
        if project is not None or member is not None:
            raise InvalidInputError("an operator's key has no project and no member")
        return {"kind": KeyKind.OPERATOR.value, "tenant_id": None, "project_id": None, "member_id": None}
    if project is not None and member is not None:
        raise InvalidInputError("a key is a service's in a project, or a member's; not both")
    owner = open_tenant(connection, tenant)
    if member is not None:
        of_member = find_member(connection, owner, member).id
        return {"kind": KeyKind.MEMBER.value, "tenant_id": owner.id, "project_id": None, "member_id": of_member}
    of_project = find_project(connection, owner.id, project or DEFAULT_PROJECT)
    if of_project.archived_ns is not None:
        raise ConflictError(f"project '{of_project.name}' is archived; it gets no new keys")
    return {"kind": KeyKind.TENANT.value, "tenant_id": owner.id, "project_id": of_project.id, "member_id": None}


def refuse_wider(
    connection: sa.Connection,
    creator: Principal | None,
    tenant_id: str | None,
    kind: str | None,
    scope: Scope,
    expires_ns: int | None,
) -> None:
    """Refuse a key that opens more, or lives longer, than the one that asks for it; None may make any."""
    if creator is None:
        return
    require(creator, Action.KEYS if kind == KeyKind.TENANT.value else Action.MEMBERS, tenant_id)
    if (more := scope.beyond(creator.scope)) is not None:
        raise ForbiddenError(f"your key does not open {more}, so none that it makes does; narrow the new key")
    ends_ns = find_key(connection, creator.credential_id).expires_ns
    if ends_ns is not None and (expires_ns is None or expires_ns > ends_ns):
        raise ForbiddenError("your key expires before the new one would; give the new one an earlier end")


def _check_times(now_ns: int, not_before_ns: int | None, expires_ns: int | None) -> None:
    if expires_ns is not None and expires_ns <= max(now_ns, not_before_ns or 0):
        raise InvalidInputError("the key would have expired before its first use; give a time to come")


def _as_json(names: frozenset[str] | None) -> str | None:
    return None if names is None else json.dumps(sorted(names))


def _keys(connection: sa.Connection, *where: sa.ColumnElement[bool]) -> list[KeyInfo]:
    keys, tenants, projects, members = (
        tables.api_keys.c, tables.tenants.c, tables.projects.c, tables.members.c,
    )  # fmt: skip
    query = (
        sa.select(
            keys.id, keys.kind, tenants.name.label("tenant"), keys.prefix, keys.name, keys.models, keys.created_ns,
            keys.expires_ns, keys.revoked_ns, keys.tenant_id, projects.name.label("project"), keys.project_id,
            members.email.label("member"), keys.member_id, keys.routes, keys.addresses, keys.not_before_ns,
            keys.replaced_by, keys.counted_as, keys.created_by, keys.cert_sha256, keys.last_used_ns,
        )
        .join_from(tables.api_keys, tables.tenants, tenants.id == keys.tenant_id, isouter=True)
        .join(tables.projects, projects.id == keys.project_id, isouter=True)
        .join(tables.members, members.id == keys.member_id, isouter=True)
        .where(*where)
        .order_by(keys.created_ns, keys.id)
    )  # fmt: skip
    return [
        KeyInfo(**{**row, **{part: _names(row[part]) for part in ("models", "routes", "addresses")}})
        for row in connection.execute(query).mappings()
    ]


def _names(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(json.loads(text))
