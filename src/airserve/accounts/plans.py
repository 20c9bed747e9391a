"""Plans: what tenants are offered, in versions. A published version never changes, nor do its prices."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass

import msgspec
import sqlalchemy as sa

from airserve.accounts.tenants import check_currency
from airserve.accounts.terms import Budget, Terms
from airserve.core.errors import InvalidInputError, NotFoundError
from airserve.storage import Database, tables

_CODE = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_MAX_INT64 = (1 << 63) - 1
MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Plan:
    """One version of a plan. Its prices are the rows of `prices` with its id; other models have their list price."""

    id: str
    code: str
    version: int
    name: str
    terms: Terms
    created_ns: int

    @property
    def reference(self) -> str:
        """How people name it: code@version."""
        return f"{self.code}@{self.version}"


def insert_plan(connection: sa.Connection, code: str, name: str, terms: Terms, *, now_ns: int) -> Plan:
    """Write the next version of the plan `code`, in the caller's transaction, which also writes its prices."""
    if not _CODE.fullmatch(code):
        raise InvalidInputError("a plan's code is 1 to 63 small letters, digits and dashes, such as team-2026")
    if not 0 < len(name) <= 100 or not name.isprintable():
        raise InvalidInputError("a plan's name is 1 to 100 printable characters")
    check_terms(terms)
    columns = tables.plans.c
    newest = connection.scalar(sa.select(sa.func.max(columns.version)).where(columns.code == code)) or 0
    plan = Plan(f"pln_{secrets.token_hex(10)}", code, newest + 1, name, terms, now_ns)
    connection.execute(
        tables.plans.insert().values(
            id=plan.id, code=code, version=plan.version, name=name, terms=msgspec.json.encode(terms).decode(),
            created_ns=now_ns,
        )
    )  # fmt: skip
    return plan


def list_plans(database: Database) -> list[Plan]:
    """Every version of every plan, by code and version."""
    query = sa.select(tables.plans).order_by(tables.plans.c.code, tables.plans.c.version)
    with database.read() as connection:
        return [_plan(row) for row in connection.execute(query)]


def find_plan(connection: sa.Connection, reference: str) -> Plan:
    """The plan CODE, in its newest version, or CODE@VERSION, or by its id. Raises `NotFoundError`."""
    code, at, version = reference.partition("@")
    columns = tables.plans.c
    wanted = sa.or_(columns.code == code, columns.id == reference)
    query = sa.select(tables.plans).where(wanted).order_by(columns.version.desc())
    if at:
        if not version.isascii() or not version.isdigit() or len(version) > 9:
            raise InvalidInputError(f"'{reference[:80]}' names no version; write it like team@2")
        query = query.where(columns.version == int(version))
    row = connection.execute(query).first()
    if row is None:
        raise NotFoundError(f"no plan '{reference[:80]}'; see airserve plans list")
    return _plan(row)


def check_terms(terms: Terms) -> None:
    """Refuse terms that make no sense, with `InvalidInputError`."""
    check_currency(terms.currency)
    for part in (terms.limits, terms.hardening):
        for name in part.__struct_fields__:
            value = getattr(part, name)
            if value is not None and not (0 if name == "decimals" else 1) <= value <= _MAX_INT64:
                raise InvalidInputError(f"{name} is a whole number from 1 on, or left away for no limit; not {value}")
    if terms.hardening.decimals is not None and terms.hardening.decimals > 15:
        raise InvalidInputError(f"answers are rounded to 0 to 15 decimals, not {terms.hardening.decimals}")
    if not -100 <= terms.priority <= 100:
        raise InvalidInputError(f"a priority is -100 to 100, a higher one goes first; not {terms.priority}")
    if not 1 <= terms.share <= 1000:
        raise InvalidInputError(f"a share is 1 to 1000, not {terms.share}")
    if terms.min_accuracy is not None and not 0 <= terms.min_accuracy <= 1:
        raise InvalidInputError(f"min_accuracy is 0 to 1, the least accuracy of an answer; not {terms.min_accuracy}")
    if any(not 0 <= quantity <= _MAX_INT64 for quantity in terms.free.values()):
        raise InvalidInputError("what is free is a count of 0 or more")
    if not 0 <= terms.monthly_minimum_nano <= _MAX_INT64:
        raise InvalidInputError("a monthly minimum is an amount of 0 or more")
    if terms.budget is not None:
        check_budget(terms.budget)
    if (commitment := terms.commitment) is not None and (
        not 0 < commitment.amount_nano <= _MAX_INT64 or not 0 <= commitment.discount_ppm <= MILLION
    ):
        raise InvalidInputError("a commitment is an amount above 0, with a discount of 0 to 100 percent")


def check_budget(budget: Budget) -> None:
    """Refuse a budget below zero or beyond int64."""
    if not 0 <= budget.limit_nano <= _MAX_INT64:
        raise InvalidInputError(f"a budget is 0 to {_MAX_INT64} nano-units, not {budget.limit_nano}")


def _plan(row: sa.Row[tuple[object, ...]]) -> Plan:
    return Plan(row.id, row.code, row.version, row.name, msgspec.json.decode(row.terms, type=Terms), row.created_ns)
