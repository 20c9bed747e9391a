"""What a tenant used, and what it costs."""

from __future__ import annotations

import datetime as dt

from fastapi import APIRouter, Response

from airserve.accounts.roles import Action
from airserve.metering.usage import usage as usage_of
from airserve.server.apis.control.caller import Asked, reply

router = APIRouter(tags=["usage"])


@router.get("/tenants/{tenant}/usage")
def usage(
    asked: Asked, tenant: str, since: dt.date | None = None, until: dt.date | None = None, model: str | None = None
) -> Response:
    """Calls and amounts by model and day (UTC), of what is in the ledger: all but the last second or two."""
    found = asked.tenant(tenant, Action.USAGE)
    return reply(usage_of(asked.database, tenant=found.id, model=model, since=since, until=until))
