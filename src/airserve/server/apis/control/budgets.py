"""Budgets over a tenant, its projects and its keys."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict

from airserve.accounts.budgets import list_budgets, remove_budget, set_budget
from airserve.accounts.roles import Action
from airserve.accounts.terms import Budget, BudgetMode, BudgetPeriod
from airserve.server.apis.control.caller import Asked, reply

router = APIRouter(prefix="/tenants/{tenant}/budgets", tags=["budgets"])


class NewBudget(BaseModel):
    """The most that may be spent in a period, by the tenant, a `project` or a `key`."""

    model_config = ConfigDict(extra="forbid")
    limit_nano: int
    period: Literal["day", "month", "total"] = "month"
    mode: Literal["soft", "hard", "strict"] = "hard"
    project: str | None = None
    key: str | None = None


@router.get("")
def budgets(asked: Asked, tenant: str) -> Response:
    """All budgets of the tenant, its projects and its keys."""
    return reply(list_budgets(asked.database, asked.tenant(tenant, Action.READ).id))


@router.post("", status_code=201)
def create(asked: Asked, tenant: str, new: NewBudget) -> Response:
    """Set a budget; it takes the place of one of the same scope, period and mode."""
    found = asked.tenant(tenant, Action.BUDGETS)
    budget = Budget(new.limit_nano, BudgetPeriod(new.period), BudgetMode(new.mode))
    made = set_budget(
        asked.database, found.id, budget, now_ns=asked.now_ns, project=new.project, key=new.key, actor=asked.actor
    )
    return reply(made, 201)


@router.delete("/{budget}")
def remove(asked: Asked, tenant: str, budget: str) -> Response:
    """Remove a budget."""
    found = asked.tenant(tenant, Action.BUDGETS)
    return reply(remove_budget(asked.database, budget, now_ns=asked.now_ns, tenant_id=found.id, actor=asked.actor))
