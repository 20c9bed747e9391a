"""Keys of a tenant's services and members. A key's text is in the answer to who made it, and nowhere else."""

from __future__ import annotations

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict

from airserve.accounts import create_key, list_keys, revoke_key
from airserve.accounts.key_rotation import MAX_OVERLAP_NS, rotate_key
from airserve.accounts.keys import find_key
from airserve.accounts.roles import Action, require
from airserve.server.apis.control.caller import Asked, reply

router = APIRouter(prefix="/tenants/{tenant}/keys", tags=["keys"])


class NewKey(BaseModel):
    """A key to be: of a service in `project`, or of `member`. What is left away is no restriction."""

    model_config = ConfigDict(extra="forbid")
    name: str = ""
    project: str | None = None
    member: str | None = None
    models: list[str] | None = None
    routes: list[str] | None = None
    addresses: list[str] | None = None
    not_before_ns: int | None = None
    expires_ns: int | None = None
    cert_sha256: str | None = None


class Overlap(BaseModel):
    """How long the old key stays good."""

    model_config = ConfigDict(extra="forbid")
    overlap_seconds: float = MAX_OVERLAP_NS / 1e9


@router.get("")
def keys(asked: Asked, tenant: str) -> Response:
    """All keys, without their secrets."""
    return reply(list_keys(asked.database, asked.tenant(tenant, Action.READ).id))


@router.post("", status_code=201)
def create(asked: Asked, tenant: str, new: NewKey) -> Response:
    """A new key, which opens nothing that the caller's does not."""
    found = asked.tenant(tenant, Action.MEMBERS if new.member else Action.KEYS)
    key, info = create_key(
        asked.database,
        asked.runtime.pepper,
        now_ns=asked.now_ns,
        tenant=found.id,
        creator=asked.principal,
        **new.model_dump(),
    )
    return reply({"key": key, "info": info}, 201)


@router.post("/{key}/rotate", status_code=201)
def rotate(asked: Asked, tenant: str, key: str, wanted: Overlap) -> Response:
    """Another key in place of this one, which stays good for a while."""
    found = asked.tenant(tenant, Action.READ)
    with asked.database.read() as connection:
        before = find_key(connection, key, found.id)
    new, info = rotate_key(
        asked.database,
        asked.runtime.pepper,
        before.id,
        now_ns=asked.now_ns,
        overlap_ns=int(wanted.overlap_seconds * 1e9),
        creator=asked.principal,
    )
    return reply({"key": new, "info": info}, 201)


@router.delete("/{key}")
def revoke(asked: Asked, tenant: str, key: str) -> Response:
    """Revoke a key; every server refuses it within a second."""
    found = asked.tenant(tenant, Action.READ)
    with asked.database.read() as connection:
        info = find_key(connection, key, found.id)
    if info.id != asked.principal.credential_id:
        require(asked.principal, Action.MEMBERS if info.member_id else Action.KEYS, found.id)
    id = revoke_key(asked.database, info.id, now_ns=asked.now_ns, tenant_id=found.id, actor=asked.actor)
    return reply({"id": id, "revoked": True})
