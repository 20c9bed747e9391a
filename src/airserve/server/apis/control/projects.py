"""Projects of a tenant, and whether their payloads are kept."""

from __future__ import annotations

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict

from airserve.accounts.payload_logging import PayloadLogging
from airserve.accounts.projects import archive_project, create_project, list_projects, set_payload_logging
from airserve.accounts.roles import Action
from airserve.server.apis.control.caller import Asked, reply

router = APIRouter(prefix="/tenants/{tenant}/projects", tags=["projects"])


class NewProject(BaseModel):
    """A project to be."""

    model_config = ConfigDict(extra="forbid")
    name: str


class Payloads(BaseModel):
    """Whether inputs and answers are kept, for how long, and what is left out of them."""

    model_config = ConfigDict(extra="forbid")
    enabled: bool
    retention_days: int = 30
    redact: list[str] = []


@router.get("")
def projects(asked: Asked, tenant: str) -> Response:
    """All projects."""
    return reply(list_projects(asked.database, asked.tenant(tenant, Action.READ).id))


@router.post("", status_code=201)
def create(asked: Asked, tenant: str, new: NewProject) -> Response:
    """A new project."""
    found = asked.tenant(tenant, Action.PROJECTS)
    return reply(create_project(asked.database, found.id, new.name, now_ns=asked.now_ns, actor=asked.actor), 201)


@router.delete("/{project}")
def archive(asked: Asked, tenant: str, project: str) -> Response:
    """Archive a project: its keys stop, its usage stays."""
    found = asked.tenant(tenant, Action.PROJECTS)
    return reply(archive_project(asked.database, found.id, project, now_ns=asked.now_ns, actor=asked.actor))


@router.put("/{project}/payload-logging")
def payload_logging(asked: Asked, tenant: str, project: str, wanted: Payloads) -> Response:
    """Keep payloads of this project, or stop it."""
    found = asked.tenant(tenant, Action.PROJECTS)
    setting = PayloadLogging(wanted.enabled, wanted.retention_days, tuple(wanted.redact))
    return reply(
        set_payload_logging(asked.database, found.id, project, setting, now_ns=asked.now_ns, actor=asked.actor)
    )
