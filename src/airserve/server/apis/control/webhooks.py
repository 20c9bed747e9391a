"""Where a tenant is told of what happens."""

from __future__ import annotations

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict

from airserve.accounts.roles import Action
from airserve.metering.webhooks.endpoints import add_endpoint, list_endpoints, remove_endpoint
from airserve.server.apis.control.caller import Asked, reply

router = APIRouter(prefix="/tenants/{tenant}/webhooks", tags=["webhooks"])


class NewWebhook(BaseModel):
    """A URL to be told, of some events or of all."""

    model_config = ConfigDict(extra="forbid")
    url: str
    events: list[str] = ["*"]


@router.get("")
def webhooks(asked: Asked, tenant: str) -> Response:
    """All endpoints, without their secrets."""
    return reply(list_endpoints(asked.database, asked.tenant(tenant, Action.WEBHOOKS).id))


@router.post("", status_code=201)
def add(asked: Asked, tenant: str, new: NewWebhook) -> Response:
    """A new endpoint, and the secret that its messages are signed with, shown this once."""
    found = asked.tenant(tenant, Action.WEBHOOKS)
    endpoint, secret = add_endpoint(
        asked.database,
        asked.runtime.pepper,
        new.url,
        tenant_id=found.id,
        events=new.events,
        allow_private=asked.runtime.settings.webhooks_allow_private,
        now_ns=asked.now_ns,
        actor=asked.actor,
    )
    return reply({"secret": secret, "endpoint": endpoint}, 201)


@router.delete("/{endpoint}")
def remove(asked: Asked, tenant: str, endpoint: str) -> Response:
    """Tell it no more."""
    found = asked.tenant(tenant, Action.WEBHOOKS)
    return reply(remove_endpoint(asked.database, endpoint, now_ns=asked.now_ns, tenant_id=found.id, actor=asked.actor))
