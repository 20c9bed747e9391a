"""What a tenant's plan says of a whole month: the version of it that held at the month's last moment."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from airserve.metering.periods import bounds_ns
from airserve.metering.rating import MonthlyTerms
from airserve.storage import tables


class _Commitment(msgspec.Struct):
    amount_nano: int
    discount_ppm: int


class _Terms(msgspec.Struct):
    """The part of a plan's terms that is about money of the month; the rest is not for rating."""

    currency: str = "EUR"
    free: dict[str, int] = {}
    monthly_minimum_nano: int = 0
    commitment: _Commitment | None = None


def terms_of(connection: sa.Connection, tenant_id: str, period: str) -> tuple[str | None, MonthlyTerms]:
    """The plan's id and what it says of the month; None and no terms for a tenant without a plan."""
    _, end_ns = bounds_ns(period)
    subscriptions, plans = tables.subscriptions, tables.plans
    query = (
        sa.select(subscriptions.c.plan_id, plans.c.terms)
        .join_from(subscriptions, plans, plans.c.id == subscriptions.c.plan_id, isouter=True)
        .where(subscriptions.c.tenant_id == tenant_id, subscriptions.c.starts_ns < end_ns)
        .order_by(subscriptions.c.id.desc())
        .limit(1)
    )
    row = connection.execute(query).one_or_none()
    if row is None or row.terms is None:
        return None, MonthlyTerms()
    terms = msgspec.json.decode(row.terms, type=_Terms)
    commitment = terms.commitment or _Commitment(0, 0)
    return row.plan_id, MonthlyTerms(
        terms.currency, terms.free, terms.monthly_minimum_nano, commitment.amount_nano, commitment.discount_ppm
    )
