"""Customers, and what is printed on their invoices."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict

from airserve.accounts import create_tenant, list_tenants, set_tenant_status
from airserve.accounts.roles import Action
from airserve.metering.invoices.details import billing_details, change_billing_details
from airserve.server.apis.control.caller import Asked, reply

router = APIRouter(tags=["tenants"])


class NewTenant(BaseModel):
    """A customer to be."""

    model_config = ConfigDict(extra="forbid")
    name: str
    currency: str = "EUR"


class TenantStatus(BaseModel):
    """Whether a tenant is served; closed is for good."""

    model_config = ConfigDict(extra="forbid")
    status: Literal["active", "suspended", "closed"]


class Billing(BaseModel):
    """Who invoices are for; `tax_ppm` in millionths. What is left away stays as it is."""

    model_config = ConfigDict(extra="forbid")
    legal_name: str | None = None
    address: str | None = None
    email: str | None = None
    tax_id: str | None = None
    tax_name: str | None = None
    tax_ppm: int | None = None
    tax_note: str | None = None
    payment_days: int | None = None


_OPERATORS_ALONE = {"tax_name", "tax_ppm", "tax_note", "payment_days"}


@router.get("/tenants")
def tenants(asked: Asked) -> Response:
    """All tenants. For operators."""
    asked.may(Action.TENANTS)
    return reply(list_tenants(asked.database))


@router.post("/tenants", status_code=201)
def create(asked: Asked, new: NewTenant) -> Response:
    """A new tenant, with a project `default`. For operators."""
    asked.may(Action.TENANTS)
    made = create_tenant(asked.database, new.name, now_ns=asked.now_ns, currency=new.currency, actor=asked.actor)
    return reply(made, 201)


@router.get("/tenants/{tenant}")
def show(asked: Asked, tenant: str) -> Response:
    """One tenant."""
    return reply(asked.tenant(tenant, Action.READ))


@router.patch("/tenants/{tenant}")
def change(asked: Asked, tenant: str, wanted: TenantStatus) -> Response:
    """Suspend, activate or close a tenant. For operators."""
    asked.may(Action.TENANTS)
    found = asked.tenant(tenant, Action.READ)
    return reply(set_tenant_status(asked.database, found.id, wanted.status, now_ns=asked.now_ns, actor=asked.actor))


@router.get("/tenants/{tenant}/billing")
def billing(asked: Asked, tenant: str) -> Response:
    """Who the tenant's invoices are for, and its tax."""
    found = asked.tenant(tenant, Action.INVOICES)
    with asked.database.read() as connection:
        return reply(billing_details(connection, found.id))


@router.patch("/tenants/{tenant}/billing")
def set_billing(asked: Asked, tenant: str, wanted: Billing) -> Response:
    """Change who invoices are for. Taxes and the days to pay are the operator's to set."""
    found = asked.tenant(tenant, Action.BILLING)
    given = {name: value for name, value in wanted.model_dump().items() if value is not None}
    if given.keys() & _OPERATORS_ALONE:
        asked.may(Action.ISSUE)
    return reply(change_billing_details(asked.database, found.id, given, now_ns=asked.now_ns, actor=asked.actor))
