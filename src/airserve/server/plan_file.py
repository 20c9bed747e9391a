"""A plan as its operator writes it, in TOML: terms and prices together, published in one transaction.

Amounts are decimals in quotes, such as "0.0001": a float could not hold them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from airserve.accounts.plans import Plan, insert_plan
from airserve.accounts.terms import Budget, BudgetMode, BudgetPeriod, Commitment, Hardening, Limits, Terms
from airserve.core.errors import InvalidInputError
from airserve.metering.money import nano_of
from airserve.metering.prices import Price, insert_price
from airserve.metering.tiers import Step
from airserve.metering.units import unit_of
from airserve.storage import Database
from airserve.storage.audit_log import record

_PPM_OF_PERCENT = 10_000
_NANO_OF_PPM = 1_000


class BudgetSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[budget]`: what all calls of a period may cost together."""

    limit: str
    period: BudgetPeriod = BudgetPeriod.MONTH
    mode: BudgetMode = BudgetMode.HARD


class CommitmentSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[commitment]`: paid each month in any case, for a discount on all usage."""

    amount: str
    discount_percent: str = "0"


class TierSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"from_quantity": "from"}):
    """One tier: what is used in a month beyond `from` costs `price`."""

    from_quantity: int
    price: str


class PriceSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[prices.MODEL]`: each part is an amount; cached tokens cost what input tokens do where they have none."""

    per_call: str = "0"
    per_compute_second: str = "0"
    per_million_input_tokens: str = "0"
    per_million_cached_tokens: str | None = None
    per_million_output_tokens: str = "0"
    per_megabyte: str = "0"
    tiers: dict[str, list[TierSection]] = {}


class PlanDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A whole plan. See `docs/sell.md` for what each part means."""

    code: str
    name: str
    currency: str = "EUR"
    priority: int = 0
    share: int = 1
    min_accuracy: float | None = None
    monthly_minimum: str = "0"
    free: dict[str, int] = {}
    limits: Limits = Limits()
    hardening: Hardening = Hardening()
    budget: BudgetSection | None = None
    commitment: CommitmentSection | None = None
    prices: dict[str, PriceSection] = {}

    @property
    def terms(self) -> Terms:
        """What the plan grants and asks, in whole nano-units."""
        budget, commitment = self.budget, self.commitment
        for unit in self.free:
            unit_of(unit)
        return Terms(
            currency=self.currency,
            limits=self.limits,
            budget=None if budget is None else Budget(nano_of(budget.limit), budget.period, budget.mode),
            hardening=self.hardening,
            priority=self.priority,
            share=self.share,
            min_accuracy=self.min_accuracy,
            free=self.free,
            monthly_minimum_nano=nano_of(self.monthly_minimum),
            commitment=None
            if commitment is None
            else Commitment(nano_of(commitment.amount), _ppm(commitment.discount_percent)),
        )


def read_plan(file: Path) -> PlanDocument:
    """The plan in a TOML file. Raises `InvalidInputError` that names the part that is wrong."""
    try:
        return msgspec.toml.decode(file.read_bytes(), type=PlanDocument)
    except OSError as error:
        raise InvalidInputError(f"{file} cannot be read: {error.strerror}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        hint = '; amounts are decimals in quotes, such as "0.0001"' if "`str`" in str(error) else ""
        raise InvalidInputError(f"{file} is no plan: {error}{hint}") from None


def publish_plan(database: Database, document: PlanDocument, *, now_ns: int, actor: str | None = None) -> Plan:
    """The next version of the plan, with its prices; tenants get it when they are subscribed to it."""
    with database.write() as connection:
        plan = insert_plan(connection, document.code, document.name, document.terms, now_ns=now_ns)
        for model, section in document.prices.items():
            insert_price(connection, _price(model, section, document.currency, plan.id), now_ns)
        record(
            connection, actor=actor, action="plan.publish", object_id=plan.id,
            after={"plan": plan, "prices": document.prices}, now_ns=now_ns,
        )  # fmt: skip
    return plan


def _price(model: str, section: PriceSection, currency: str, plan_id: str) -> Price:
    cached = section.per_million_cached_tokens
    return Price(
        id=0,
        model=model,
        per_call_nano=nano_of(section.per_call),
        per_compute_second_nano=nano_of(section.per_compute_second),
        currency=currency,
        per_million_input_tokens_nano=nano_of(section.per_million_input_tokens),
        per_million_cached_tokens_nano=nano_of(section.per_million_input_tokens if cached is None else cached),
        per_million_output_tokens_nano=nano_of(section.per_million_output_tokens),
        per_megabyte_nano=nano_of(section.per_megabyte),
        plan_id=plan_id,
        tiers=_tiers(section.tiers),
    )


def _tiers(sections: Mapping[str, list[TierSection]]) -> dict[str, tuple[Step, ...]]:
    return {
        unit: tuple(Step(each.from_quantity, nano_of(each.price)) for each in steps) for unit, steps in sections.items()
    }


def _ppm(percent: str) -> int:
    """Millionths of a decimal in percent, such as '12.5': exact, or refused."""
    ppm, rest = divmod(nano_of(percent) * _PPM_OF_PERCENT // _NANO_OF_PPM, 1_000_000)
    if rest:
        raise InvalidInputError(f"'{percent}' percent is finer than a millionth; use at most four decimal places")
    return ppm
