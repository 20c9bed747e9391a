"""What holds for the calls of one key: its tenant's limits and the budgets over it, with their state."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from airserve.accounts import Principal
from airserve.accounts.account import Account, BudgetOver
from airserve.accounts.terms import BudgetMode
from airserve.serving.bucket import Bucket
from airserve.serving.gcra import DAY_NS, MINUTE_NS
from airserve.serving.purse import Purse


class LimitKind(NamedTuple):
    """A kind of limit: its name in headers, what it counts, over which time, and as the plan calls it."""

    name: str
    unit: str
    period_ns: int
    field: str
    sentence: str


CALLS, TOKENS, BYTES = "requests", "tokens", "content-bytes"
KEY_CALLS = LimitKind("key-calls-day", CALLS, DAY_NS, "calls_per_key_per_day", "calls a day of one key")
KINDS = (
    LimitKind("calls-minute", CALLS, MINUTE_NS, "calls_per_minute", "calls a minute"),
    LimitKind("calls-day", CALLS, DAY_NS, "calls_per_day", "calls a day"),
    LimitKind("tokens-minute", TOKENS, MINUTE_NS, "tokens_per_minute", "tokens a minute"),
    LimitKind("tokens-day", TOKENS, DAY_NS, "tokens_per_day", "tokens a day"),
    LimitKind("bytes-day", BYTES, DAY_NS, "bytes_per_day", "bytes a day"),
)


class Limit(NamedTuple):
    """One limit and its state."""

    kind: LimitKind
    bucket: Bucket


@dataclass(slots=True)
class BudgetLine:
    """All budgets over one scope and period: the tightest that stops calls, the tightest that only warns.

    `strict` is whether one of them may never be passed; `purse` is that of the latest call.
    """

    scope: str
    scope_id: str
    period: str
    limit_nano: int | None
    soft_nano: int | None
    strict: bool
    purse: Purse | None = None


@dataclass(slots=True)
class TenantCalls:
    """The calls of one tenant that run or wait, over all its keys."""

    open: set[int] = field(default_factory=set)


@dataclass(slots=True, eq=False)
class Standing:
    """Of one key, as long as its account stays the same; the state in it is that of tenant, project and key."""

    account: Account
    tenant_id: str
    limits: tuple[Limit, ...]
    concurrency: int | None
    calls: TenantCalls
    budgets: tuple[BudgetLine, ...]
    of_calls: tuple[Limit, ...] = field(init=False)
    of_tokens: tuple[Limit, ...] = field(init=False)
    of_bytes: tuple[Limit, ...] = field(init=False)
    warns: bool = field(init=False)
    policies: bytes = b""
    """What headers say of `limits`, once somebody has written it."""
    told: tuple[tuple[bytes, bytes], ...] = ()
    told_until_ns: int = 0
    """How long `told`, which says what is left, may be said again."""

    def __post_init__(self) -> None:
        self.of_calls, self.of_tokens, self.of_bytes = (
            tuple(limit for limit in self.limits if limit.kind.unit is unit) for unit in (CALLS, TOKENS, BYTES)
        )
        self.warns = any(line.soft_nano is not None for line in self.budgets)

    @property
    def empty(self) -> bool:
        """Whether nothing limits these calls."""
        return not self.limits and not self.budgets and self.concurrency is None


def quotas(account: Account) -> list[tuple[LimitKind, int]]:
    """The limits that a plan sets."""
    limits = account.terms.limits
    found = [(kind, quota) for kind in KINDS if (quota := getattr(limits, kind.field)) is not None]
    of_key = account.terms.hardening.calls_per_key_per_day
    return found if of_key is None else [*found, (KEY_CALLS, of_key)]


def budget_lines(account: Account, principal: Principal) -> tuple[BudgetLine, ...]:
    """The plan's own budget and all others over tenant, project and key, one line for each scope and period."""
    budgets = list(account.budgets)
    own = account.terms.budget
    if own is not None:
        budgets.append(BudgetOver("tenant", principal.tenant_id or "", own))
    grouped: dict[tuple[str, str, str], list[BudgetOver]] = {}
    mine = {"tenant": principal.tenant_id, "project": principal.project_id, "key": principal.key_id}
    for over in budgets:
        if mine.get(over.scope) == over.scope_id:
            grouped.setdefault((over.scope, over.scope_id, over.budget.period.value), []).append(over)
    lines = []
    for (scope, scope_id, period), overs in sorted(grouped.items()):
        stopping = [over.budget.limit_nano for over in overs if over.budget.mode is not BudgetMode.SOFT]
        warning = [over.budget.limit_nano for over in overs if over.budget.mode is BudgetMode.SOFT]
        strict = any(over.budget.mode is BudgetMode.STRICT for over in overs)
        lines.append(
            BudgetLine(scope, scope_id, period, min(stopping, default=None), min(warning, default=None), strict)
        )
    return tuple(lines)
