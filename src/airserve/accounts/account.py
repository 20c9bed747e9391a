"""What a call may do and may cost: the terms of its tenant's plan, and every budget over it. Part of the directory."""

from __future__ import annotations

from dataclasses import dataclass, field

from airserve.accounts.terms import Budget, Terms


@dataclass(frozen=True, slots=True)
class BudgetOver:
    """A budget, and over whom: `scope` is tenant, project or key."""

    scope: str
    scope_id: str
    budget: Budget


@dataclass(frozen=True, slots=True)
class Account:
    """One tenant's plan as it holds now. `plan_id` None is no plan: the list prices, and no limits."""

    plan_id: str | None = None
    terms: Terms = field(default_factory=Terms)
    budgets: tuple[BudgetOver, ...] = ()


UNLIMITED = Account()
