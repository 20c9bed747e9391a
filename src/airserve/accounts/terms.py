"""What a plan grants and asks: limits, a budget, priority, what is free or committed. Immutable once published."""

from __future__ import annotations

import enum

import msgspec


class BudgetMode(enum.Enum):
    """What happens at the end of a budget."""

    SOFT = "soft"
    """Calls go on; who pays is warned."""
    HARD = "hard"
    """New calls are refused. What the calls in flight cost beyond what was set aside for them may pass it."""
    STRICT = "strict"
    """Never passed: a call is charged no more than what was set aside for it."""


class BudgetPeriod(enum.Enum):
    """When a budget begins anew: with the day or the month in UTC, or never."""

    DAY = "day"
    MONTH = "month"
    TOTAL = "total"


class Budget(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The most that may be spent in a period, in 1e-9 of the plan's currency."""

    limit_nano: int
    period: BudgetPeriod = BudgetPeriod.MONTH
    mode: BudgetMode = BudgetMode.HARD


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The most that a tenant may ask for; None is no limit. Days and minutes slide (GCRA).

    `concurrency` is in calls; bytes are those of requests and replies together.
    """

    calls_per_minute: int | None = None
    calls_per_day: int | None = None
    tokens_per_minute: int | None = None
    tokens_per_day: int | None = None
    bytes_per_day: int | None = None
    concurrency: int | None = None


class Hardening(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What slows the copying of a model by its answers: only the `top_k` largest values, rounded, a cap per key."""

    top_k: int | None = None
    decimals: int | None = None
    calls_per_key_per_day: int | None = None


class Commitment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the tenant pays each month in any case, and the discount on all usage for it, in millionths."""

    amount_nano: int
    discount_ppm: int


class Terms(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The terms of one version of a plan. Money is in 1e-9 of `currency`.

    `priority` is the class in which calls wait: a higher one goes first. `share` is the tenant's weight within its
    class. `min_accuracy` is the least accuracy of a variant that answers in place of a more accurate one. `free` is
    what each month includes, by unit (see `metering/units.py`).
    """

    currency: str = "EUR"
    limits: Limits = Limits()
    budget: Budget | None = None
    hardening: Hardening = Hardening()
    priority: int = 0
    share: int = 1
    min_accuracy: float | None = None
    free: dict[str, int] = {}
    monthly_minimum_nano: int = 0
    commitment: Commitment | None = None
