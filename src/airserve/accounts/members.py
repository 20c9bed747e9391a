"""Members: the people of a tenant, by their e-mail address, and what each may do."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, replace

import sqlalchemy as sa

from airserve.accounts.roles import MEMBER_ROLES, Role
from airserve.accounts.tenant import Tenant, find_tenant, open_tenant
from airserve.core.errors import ConflictError, InvalidInputError, NotFoundError
from airserve.storage import Database, tables
from airserve.storage.audit_log import record

# Not the whole of RFC 5321: what people have, without spaces, quotes and control characters.
_EMAIL = re.compile(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+")
_MAX_EMAIL = 254


@dataclass(frozen=True, slots=True)
class Member:
    """One person of a tenant; `role` is owner, developer, billing or viewer."""

    id: str
    tenant_id: str
    email: str
    role: str
    created_ns: int


def add_member(
    database: Database, tenant: str, email: str, role: str, *, now_ns: int, actor: str | None = None
) -> Member:
    """A new member of `tenant` (name or id). Raises `ConflictError` where the address is a member's already."""
    address, role = check_email(email), _check_role(role)
    with database.write() as connection:
        owner = open_tenant(connection, tenant)
        former = connection.execute(
            sa.select(tables.members).where(tables.members.c.tenant_id == owner.id, tables.members.c.email == address)
        ).first()
        if former is not None and former.removed_ns is None:
            raise ConflictError(f"{address} is a member of '{owner.name}' already; see airserve members role")
        member = Member(former.id if former else f"mem_{secrets.token_hex(10)}", owner.id, address, role, now_ns)
        _write(connection, member, is_new=former is None)
        record(
            connection, actor=actor, action="member.add", object_id=member.id, after=member, now_ns=now_ns,
            tenant_id=owner.id,
        )  # fmt: skip
    return member


def set_role(
    database: Database, tenant: str, email: str, role: str, *, now_ns: int, actor: str | None = None
) -> Member:
    """Change what a member may do. The last owner stays one."""
    _check_role(role)
    with database.write() as connection:
        before = find_member(connection, open_tenant(connection, tenant), email)
        after = replace(before, role=role)
        if role != Role.OWNER.value:
            _refuse_the_last_owner(connection, before)
        _write(connection, after, is_new=False)
        record(
            connection, actor=actor, action="member.role", object_id=before.id, before=before, after=after,
            now_ns=now_ns, tenant_id=before.tenant_id,
        )  # fmt: skip
    return after


def remove_member(database: Database, tenant: str, email: str, *, now_ns: int, actor: str | None = None) -> Member:
    """Remove a member and revoke their keys; the last owner stays."""
    keys = tables.api_keys.c
    with database.write() as connection:
        member = find_member(connection, find_tenant(connection, tenant), email)
        _refuse_the_last_owner(connection, member)
        connection.execute(tables.members.update().where(tables.members.c.id == member.id).values(removed_ns=now_ns))
        connection.execute(
            tables.api_keys.update()
            .where(keys.member_id == member.id, keys.revoked_ns.is_(None))
            .values(revoked_ns=now_ns)
        )
        record(
            connection, actor=actor, action="member.remove", object_id=member.id, before=member, now_ns=now_ns,
            tenant_id=member.tenant_id,
        )  # fmt: skip
    return member


def list_members(database: Database, tenant: str) -> list[Member]:
    """The members of `tenant` (name or id), oldest first."""
    with database.read() as connection:
        return _members(connection, find_tenant(connection, tenant).id)


def find_member(connection: sa.Connection, tenant: Tenant, email_or_id: str) -> Member:
    """The member of this tenant with this address or id. Raises `NotFoundError`."""
    wanted = email_or_id.lower()
    found = [each for each in _members(connection, tenant.id) if wanted in (each.email, each.id)]
    if not found:
        raise NotFoundError(f"'{email_or_id[:60]}' is no member of '{tenant.name}'; see airserve members list")
    return found[0]


def check_email(email: str) -> str:
    """The address in lower case, or `InvalidInputError`."""
    if len(email) > _MAX_EMAIL or not _EMAIL.fullmatch(email):
        raise InvalidInputError(f"'{email[:60]}' is no e-mail address such as ada@example.org")
    return email.lower()


def _check_role(role: str) -> str:
    if role not in (each.value for each in MEMBER_ROLES):
        raise InvalidInputError(f"a member's role is one of {', '.join(each.value for each in MEMBER_ROLES)}")
    return role


def _refuse_the_last_owner(connection: sa.Connection, member: Member) -> None:
    owners = [each for each in _members(connection, member.tenant_id) if each.role == Role.OWNER.value]
    if [each.id for each in owners] == [member.id]:
        raise ConflictError(f"{member.email} is the last owner; make somebody else an owner first")


def _members(connection: sa.Connection, tenant_id: str) -> list[Member]:
    columns = tables.members.c
    query = (
        sa.select(columns.id, columns.tenant_id, columns.email, columns.role, columns.created_ns)
        .where(columns.tenant_id == tenant_id, columns.removed_ns.is_(None))
        .order_by(columns.created_ns, columns.id)
    )
    return [Member(*row) for row in connection.execute(query)]


def _write(connection: sa.Connection, member: Member, *, is_new: bool) -> None:
    values = {"role": member.role, "created_ns": member.created_ns, "removed_ns": None}
    if is_new:
        values |= {"id": member.id, "tenant_id": member.tenant_id, "email": member.email}
        connection.execute(tables.members.insert().values(values))
    else:
        connection.execute(tables.members.update().where(tables.members.c.id == member.id).values(values))
