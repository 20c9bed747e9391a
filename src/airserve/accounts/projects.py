"""Projects: what a tenant's keys, usage and budgets are told apart by."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, replace

import msgspec
import sqlalchemy as sa

from airserve.accounts.payload_logging import OFF, PayloadLogging, check_payload_logging
from airserve.accounts.tenant import find_tenant, open_tenant
from airserve.core.errors import ConflictError, InvalidInputError, NotFoundError
from airserve.storage import Database, tables
from airserve.storage.audit_log import record

DEFAULT_PROJECT = "default"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,62}")


@dataclass(frozen=True, slots=True)
class Project:
    """One project of a tenant; times are UTC nanoseconds."""

    id: str
    tenant_id: str
    name: str
    payload_logging: PayloadLogging
    created_ns: int
    archived_ns: int | None = None


def create_project(database: Database, tenant: str, name: str, *, now_ns: int, actor: str | None = None) -> Project:
    """A new project of `tenant` (name or id). Raises `ConflictError` where the name is taken."""
    if not _NAME.fullmatch(name):
        raise InvalidInputError("a project's name is 1 to 63 letters, digits, spaces, dots, dashes or underscores")
    with database.write() as connection:
        owner = open_tenant(connection, tenant)
        if any(each.name == name for each in _projects(connection, owner.id)):
            raise ConflictError(
                f"tenant '{owner.name}' has a project '{name}' already, or had one; choose another name"
            )
        project = insert_project(connection, owner.id, name, now_ns)
        record(
            connection, actor=actor, action="project.create", object_id=project.id, after=project, now_ns=now_ns,
            tenant_id=owner.id,
        )  # fmt: skip
    return project


def insert_project(connection: sa.Connection, tenant_id: str, name: str, now_ns: int) -> Project:
    """Write a new project, in the caller's transaction."""
    project = Project(f"prj_{secrets.token_hex(10)}", tenant_id, name, OFF, now_ns)
    connection.execute(
        tables.projects.insert().values(id=project.id, tenant_id=tenant_id, name=name, created_ns=now_ns)
    )
    return project


def list_projects(database: Database, tenant: str) -> list[Project]:
    """The projects of `tenant` (name or id), archived ones too, oldest first."""
    with database.read() as connection:
        return _projects(connection, find_tenant(connection, tenant).id)


def find_project(connection: sa.Connection, tenant_id: str, name_or_id: str) -> Project:
    """The project of this tenant with this name or id. Raises `NotFoundError`."""
    found = [each for each in _projects(connection, tenant_id) if name_or_id in (each.id, each.name)]
    if not found:
        raise NotFoundError(f"no project '{name_or_id[:63]}'; see airserve projects list")
    return found[0]


def archive_project(database: Database, tenant: str, project: str, *, now_ns: int, actor: str | None = None) -> Project:
    """Archive a project: its keys open nothing any more, its usage stays. `default` cannot be archived."""
    with database.write() as connection:
        before = _owned(connection, tenant, project)
        if before.name == DEFAULT_PROJECT:
            raise ConflictError("the project 'default' stays; suspend or close the tenant instead")
        if before.archived_ns is not None:
            return before
        after = replace(before, archived_ns=now_ns)
        _write(connection, after)
        record(
            connection, actor=actor, action="project.archive", object_id=after.id, before=before, after=after,
            now_ns=now_ns, tenant_id=after.tenant_id,
        )  # fmt: skip
    return after


def set_payload_logging(
    database: Database, tenant: str, project: str, setting: PayloadLogging, *, now_ns: int, actor: str | None = None
) -> Project:
    """Say whether the project's inputs and answers are kept; a running service follows within a second."""
    check_payload_logging(setting)
    with database.write() as connection:
        before = _owned(connection, tenant, project)
        if before.archived_ns is not None:
            raise ConflictError(f"project '{before.name}' is archived")
        after = replace(before, payload_logging=setting)
        _write(connection, after)
        record(
            connection, actor=actor, action="project.payload_logging", object_id=after.id,
            before=before.payload_logging, after=setting, now_ns=now_ns, tenant_id=after.tenant_id,
        )  # fmt: skip
    return after


def _owned(connection: sa.Connection, tenant: str, project: str) -> Project:
    return find_project(connection, open_tenant(connection, tenant).id, project)


def _write(connection: sa.Connection, project: Project) -> None:
    setting = msgspec.json.encode(project.payload_logging).decode()
    connection.execute(
        tables.projects.update()
        .where(tables.projects.c.id == project.id)
        .values(payload_logging=setting, archived_ns=project.archived_ns)
    )


def _projects(connection: sa.Connection, tenant_id: str) -> list[Project]:
    columns = tables.projects.c
    query = sa.select(tables.projects).where(columns.tenant_id == tenant_id).order_by(columns.created_ns, columns.id)
    return [
        Project(
            row.id, row.tenant_id, row.name, msgspec.json.decode(row.payload_logging, type=PayloadLogging),
            row.created_ns, row.archived_ns,
        )
        for row in connection.execute(query)
    ]  # fmt: skip
