"""Plans, and which one a tenant has."""

from __future__ import annotations

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict

from airserve.accounts.plans import list_plans
from airserve.accounts.roles import Action
from airserve.accounts.subscriptions import list_subscriptions, subscribe
from airserve.server.apis.control.caller import Asked, reply

router = APIRouter(tags=["plans"])


class NewSubscription(BaseModel):
    """A plan, as CODE or CODE@VERSION; null for none. `starts_ns` null is now."""

    model_config = ConfigDict(extra="forbid")
    plan: str | None
    starts_ns: int | None = None


@router.get("/plans")
def plans(asked: Asked) -> Response:
    """Every version of every plan. For operators."""
    asked.may(Action.PLANS)
    return reply(list_plans(asked.database))


@router.get("/tenants/{tenant}/subscriptions")
def subscriptions(asked: Asked, tenant: str) -> Response:
    """The plans that held, hold and will hold for the tenant."""
    return reply(list_subscriptions(asked.database, asked.tenant(tenant, Action.READ).id))


@router.post("/tenants/{tenant}/subscriptions", status_code=201)
def change(asked: Asked, tenant: str, wanted: NewSubscription) -> Response:
    """Give the tenant another plan, now or from a moment to come on. For operators."""
    asked.may(Action.PLANS)
    found = asked.tenant(tenant, Action.READ)
    made = subscribe(
        asked.database, found.id, wanted.plan, now_ns=asked.now_ns, starts_ns=wanted.starts_ns, actor=asked.actor
    )
    return reply(made, 201)
