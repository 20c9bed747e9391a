"""The people of a tenant and their roles."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict

from airserve.accounts.members import add_member, list_members, remove_member, set_role
from airserve.accounts.roles import Action
from airserve.server.apis.control.caller import Asked, reply

router = APIRouter(prefix="/tenants/{tenant}/members", tags=["members"])

RoleName = Literal["owner", "developer", "billing", "viewer"]


class NewMember(BaseModel):
    """A member to be."""

    model_config = ConfigDict(extra="forbid")
    email: str
    role: RoleName


class NewRole(BaseModel):
    """What a member may do from now on."""

    model_config = ConfigDict(extra="forbid")
    role: RoleName


@router.get("")
def members(asked: Asked, tenant: str) -> Response:
    """All members."""
    return reply(list_members(asked.database, asked.tenant(tenant, Action.READ).id))


@router.post("", status_code=201)
def add(asked: Asked, tenant: str, new: NewMember) -> Response:
    """A new member; make a key for them at `…/keys`."""
    found = asked.tenant(tenant, Action.MEMBERS)
    made = add_member(asked.database, found.id, new.email, new.role, now_ns=asked.now_ns, actor=asked.actor)
    return reply(made, 201)


@router.patch("/{member}")
def change(asked: Asked, tenant: str, member: str, wanted: NewRole) -> Response:
    """Change a member's role; the last owner stays one."""
    found = asked.tenant(tenant, Action.MEMBERS)
    return reply(set_role(asked.database, found.id, member, wanted.role, now_ns=asked.now_ns, actor=asked.actor))


@router.delete("/{member}")
def remove(asked: Asked, tenant: str, member: str) -> Response:
    """Remove a member and revoke their keys; the last owner stays."""
    found = asked.tenant(tenant, Action.MEMBERS)
    return reply(remove_member(asked.database, found.id, member, now_ns=asked.now_ns, actor=asked.actor))
