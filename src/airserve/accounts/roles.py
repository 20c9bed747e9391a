"""Who may do what: one table of roles and actions."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import TYPE_CHECKING

from airserve.core.errors import ForbiddenError, NotFoundError

if TYPE_CHECKING:
    from airserve.accounts.principal import Principal


class Role(enum.Enum):
    """What a person is to the service: its operator, or a member of a tenant."""

    OPERATOR = "operator"
    OWNER = "owner"
    DEVELOPER = "developer"
    BILLING = "billing"
    VIEWER = "viewer"


MEMBER_ROLES = (Role.OWNER, Role.DEVELOPER, Role.BILLING, Role.VIEWER)


class Action(enum.Enum):
    """What can be asked of the control side. Reading is READ, except where a line says that it reads."""

    READ = "read"
    """See the tenant, its plan, projects, members, keys (never their secrets) and budgets."""
    USAGE = "usage"
    """Read what was used and what it costs."""
    INVOICES = "invoices"
    """Read invoices and credit notes."""
    PROJECTS = "projects"
    """Make and archive projects, set their payload logging."""
    KEYS = "keys"
    """Make, replace and revoke service keys."""
    MEMBERS = "members"
    """Add and remove members, set their roles, make and revoke their keys."""
    BUDGETS = "budgets"
    """Set and remove budgets."""
    BILLING = "billing"
    """Change who is invoiced and where to."""
    WEBHOOKS = "webhooks"
    """Set where the tenant is told of what happens."""
    LOG = "log"
    """Read who did what in the tenant."""
    TENANTS = "tenants"
    """Make, suspend and close tenants."""
    PLANS = "plans"
    """Publish plans, set prices, subscribe tenants to plans."""
    ISSUE = "issue"
    """Draft, issue and void invoices, record payments."""
    MODELS = "models"
    """Publish, alias, load and retire models."""


_OF_A_TENANT = frozenset(
    {
        Action.READ, Action.USAGE, Action.INVOICES, Action.PROJECTS, Action.KEYS, Action.MEMBERS, Action.BUDGETS,
        Action.BILLING, Action.WEBHOOKS, Action.LOG,
    }
)  # fmt: skip

ALLOWED: Mapping[Role, frozenset[Action]] = {
    Role.OPERATOR: frozenset(Action),
    Role.OWNER: _OF_A_TENANT,
    Role.DEVELOPER: frozenset({Action.READ, Action.USAGE, Action.PROJECTS, Action.KEYS}),
    Role.BILLING: frozenset({Action.READ, Action.USAGE, Action.INVOICES, Action.BUDGETS, Action.BILLING}),
    Role.VIEWER: frozenset({Action.READ, Action.USAGE}),
}


def require(principal: Principal, action: Action, tenant_id: str | None = None) -> None:
    """Let `principal` do `action`, in `tenant_id` or (None) in the whole service, or refuse.

    Raises `ForbiddenError` where the role does not allow it, and `NotFoundError` for another tenant's: whether that
    tenant exists is nobody else's business.
    """
    role = principal.role
    if role is None:
        raise ForbiddenError("a service key opens inference routes alone; use a member's or an operator's key")
    if action not in ALLOWED[role]:
        raise ForbiddenError(f"the role {role.value} does not allow '{action.value}'; ask an owner or the operator")
    if role is Role.OPERATOR:
        return
    if tenant_id is None:
        raise ForbiddenError("this is the operator's; a member's key opens what is its own tenant's")
    if tenant_id != principal.tenant_id:
        raise NotFoundError("there is no such tenant")
