"""Who did what."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from airserve.accounts.roles import Action
from airserve.server.apis.control.caller import Asked, reply
from airserve.storage.audit_log import newest_rows

router = APIRouter(tags=["log"])

Count = Annotated[int, Query(ge=1, le=1000)]


@router.get("/tenants/{tenant}/log")
def of_tenant(asked: Asked, tenant: str, count: Count = 100) -> Response:
    """The last actions in the tenant, oldest first."""
    found = asked.tenant(tenant, Action.LOG)
    return reply(newest_rows(asked.database, count, found.id))


@router.get("/log")
def of_all(asked: Asked, count: Count = 100) -> Response:
    """The last actions in the whole service, oldest first. For operators."""
    asked.may(Action.LOG)
    return reply(newest_rows(asked.database, count))
