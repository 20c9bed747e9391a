"""Double entry: every amount moves from one account to another, in an entry that is never changed.

Whoever charges, discounts, taxes, credits or receives money calls `post` in a transaction of its own; a mistake is
corrected with `reverse`, which posts the opposite. The ledger's fold posts usage in bulk. Balances are a cache, kept in
the same transaction. Nothing is posted into a month of a tenant that was closed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import sqlalchemy as sa

from airserve.core.crash_points import crash_point
from airserve.core.errors import AirserveError, ConflictError, InvalidInputError, NotFoundError
from airserve.metering.event import INT64_MAX
from airserve.metering.periods import check_period, next_period
from airserve.storage import tables

USAGE = "usage"
"""The kind of the entry that a call makes."""
REVERSAL = "reversal"


class AccountName(NamedTuple):
    """An account in the ledger. `tenant_id` '' is the house."""

    code: str
    tenant_id: str = ""


REVENUE = AccountName("revenue")
DISCOUNTS = AccountName("discounts")
TAX = AccountName("tax")
ROUNDING = AccountName("rounding")
BANK = AccountName("bank")


def receivable(tenant_id: str) -> AccountName:
    """What the tenant owes: debited by usage, credited by payments."""
    return AccountName("receivable", tenant_id)


def credit(tenant_id: str) -> AccountName:
    """What the tenant has paid in advance, or was given."""
    return AccountName("credit", tenant_id)


@dataclass(frozen=True, slots=True)
class Entry:
    """One movement of `amount_nano` (more than 0, in 1e-9 of `currency`) from `credit` to `debit`.

    `tenant_id` is whose bill it is about, `period` the month that is billed, `service_period` the one in which the
    service was given, where that is another. One entry of a `kind` is posted for an `event_id`: a call, a payment.
    """

    debit: AccountName
    credit: AccountName
    amount_nano: int
    currency: str
    kind: str
    tenant_id: str
    period: str
    service_period: str = ""
    event_id: str | None = None
    price_id: int | None = None
    invoice_id: str | None = None
    reverses: int | None = None
    note: str = ""


def post(connection: sa.Connection, entry: Entry, *, now_ns: int) -> int:
    """Post `entry` once; its id. Posting it again under the same kind and event gives the id of the first.

    Raises `ConflictError` where another entry holds that kind and event, or the entry that it reverses was reversed
    already, or its period is closed; `InvalidInputError` for an amount that is none.
    """
    entry = _checked(entry)
    there = _same_event(connection, entry)
    if there is not None:
        return there
    if entry.period <= closed_through(connection, [entry.tenant_id]).get(entry.tenant_id, ""):
        raise ConflictError(f"{entry.period} of '{entry.tenant_id}' is closed; post to a month that is still open")
    names = accounts(connection, {(entry.debit, entry.currency), (entry.credit, entry.currency)})
    debit_id, credit_id = names[entry.debit, entry.currency], names[entry.credit, entry.currency]
    result = connection.execute(
        sa.insert(tables.ledger_entries).values(
            debit_id=debit_id, credit_id=credit_id, posted_ns=now_ns, **{name: getattr(entry, name) for name in _PLAIN}
        )
    )
    crash_point("postings.after_entry")
    add_to_balances(connection, [(debit_id, credit_id, entry.period, entry.amount_nano)])
    crash_point("postings.after_balances")
    (entry_id,) = result.inserted_primary_key or (0,)
    return int(entry_id)


_PLAIN = (
    "amount_nano", "currency", "kind", "tenant_id", "period", "service_period", "event_id", "price_id", "invoice_id",
    "reverses", "note",
)  # fmt: skip


def reverse(connection: sa.Connection, entry_id: int, *, period: str, now_ns: int, note: str = "") -> int:
    """Post the opposite of an entry, in the open month `period`; the new entry's id.

    Raises `NotFoundError` for an entry that there is not, `ConflictError` for one that was reversed already.
    """
    entry = read_entry(connection, entry_id)
    reversed_by = connection.scalar(
        sa.select(tables.ledger_entries.c.id).where(tables.ledger_entries.c.reverses == entry_id)
    )
    if reversed_by is not None:
        raise ConflictError(f"entry {entry_id} was reversed already, by entry {reversed_by}")
    opposite = replace(
        entry, debit=entry.credit, credit=entry.debit, kind=REVERSAL, period=period, event_id=None, invoice_id=None,
        reverses=entry_id, note=note,
    )  # fmt: skip
    return post(connection, opposite, now_ns=now_ns)


def read_entry(connection: sa.Connection, entry_id: int) -> Entry:
    """The entry with this id. Raises `NotFoundError`."""
    entries, names = tables.ledger_entries, tables.ledger_accounts
    row = connection.execute(sa.select(entries).where(entries.c.id == entry_id)).one_or_none()
    if row is None:
        raise NotFoundError(f"the ledger has no entry {entry_id}")
    found = {
        each.id: AccountName(each.code, each.tenant_id)
        for each in connection.execute(sa.select(names).where(names.c.id.in_([row.debit_id, row.credit_id])))
    }
    plain = {name: getattr(row, name) for name in _PLAIN}
    return Entry(debit=found[row.debit_id], credit=found[row.credit_id], **plain)


def accounts(
    connection: sa.Connection, wanted: Iterable[tuple[AccountName, str]]
) -> dict[tuple[AccountName, str], int]:
    """The ids of accounts by name and currency, opened where there are none yet."""
    table = tables.ledger_accounts
    found: dict[tuple[AccountName, str], int] = {}
    for name, currency in sorted(set(wanted)):
        values = {"code": name.code, "tenant_id": name.tenant_id, "currency": currency}
        same = sa.and_(*(table.c[column] == value for column, value in values.items()))
        account_id = connection.scalar(sa.select(table.c.id).where(same))
        if account_id is None:
            (account_id,) = connection.execute(sa.insert(table).values(values)).inserted_primary_key or (0,)
        found[name, currency] = int(account_id)
    return found


def add_to_balances(connection: sa.Connection, moved: Iterable[tuple[int, int, str, int]]) -> None:
    """Add movements (debited account, credited account, period, nano-units) to the cache of balances."""
    sums: dict[tuple[int, str], list[int]] = defaultdict(lambda: [0, 0])
    for debit_id, credit_id, period, nano in moved:
        sums[debit_id, period][0] += nano
        sums[credit_id, period][1] += nano
    table = tables.ledger_balances
    for (account_id, period), (debits, credits_) in sorted(sums.items()):
        this = sa.and_(table.c.account_id == account_id, table.c.period == period)
        row = connection.execute(sa.select(table.c.debits_nano, table.c.credits_nano).where(this)).one_or_none()
        values = {
            "debits_nano": debits + (row.debits_nano if row else 0),
            "credits_nano": credits_ + (row.credits_nano if row else 0),
        }
        if max(values.values()) > INT64_MAX:
            raise AirserveError(
                f"account {account_id} moves more than {INT64_MAX} nano-units in {period}; the ledger holds no more"
            )
        if row:
            connection.execute(sa.update(table).where(this).values(values))
        else:
            connection.execute(sa.insert(table).values(account_id=account_id, period=period, **values))


def balance(connection: sa.Connection, account: AccountName, currency: str, period: str | None = None) -> int:
    """Debits less credits of an account, in nano-units: over all months, or of one."""
    table, names = tables.ledger_balances, tables.ledger_accounts
    query = (
        sa.select(table.c.debits_nano, table.c.credits_nano)
        .join(names, names.c.id == table.c.account_id)
        .where(names.c.code == account.code, names.c.tenant_id == account.tenant_id, names.c.currency == currency)
    )
    if period is not None:
        query = query.where(table.c.period == period)
    # Added up here: integers of the database end at 63 bits.
    return sum(debits - credits_ for debits, credits_ in connection.execute(query))


def rebuild_balances(connection: sa.Connection) -> None:
    """Make the cache of balances anew from the entries."""
    entries = tables.ledger_entries
    connection.execute(sa.delete(tables.ledger_balances))
    columns = (entries.c.debit_id, entries.c.credit_id, entries.c.period, entries.c.amount_nano)
    add_to_balances(connection, (tuple(row) for row in connection.execute(sa.select(*columns))))


def closed_through(connection: sa.Connection, tenant_ids: Sequence[str]) -> dict[str, str]:
    """The last closed month of each tenant that has one; those before it are closed with it."""
    table = tables.closed_periods
    found: dict[str, str] = {}
    for start in range(0, len(tenant_ids), 500):
        query = (
            sa.select(table.c.tenant_id, sa.func.max(table.c.period))
            .where(table.c.tenant_id.in_(tenant_ids[start : start + 500]))
            .group_by(table.c.tenant_id)
        )
        found.update((tenant_id, period) for tenant_id, period in connection.execute(query))
    return found


def open_period(closed: Mapping[str, str], tenant_id: str, period: str) -> str:
    """Where what happened in `period` is billed: there, or in the first month that is not `closed_through`."""
    last = closed.get(tenant_id, "")
    return period if period > last else next_period(last)


def close_period(connection: sa.Connection, tenant_id: str, period: str, *, now_ns: int) -> None:
    """Let nothing be posted any more to `period` of the tenant or any month before; what comes late goes to the next.

    To be called in the transaction that adds the month up. Closing twice is fine.
    """
    check_period(period)
    table = tables.closed_periods
    if closed_through(connection, [tenant_id]).get(tenant_id, "") < period:
        last = connection.scalar(sa.select(sa.func.max(tables.ledger_entries.c.id))) or 0
        connection.execute(
            sa.insert(table).values(tenant_id=tenant_id, period=period, closed_ns=now_ns, last_entry_id=last)
        )


def _checked(entry: Entry) -> Entry:
    if not 0 < entry.amount_nano <= INT64_MAX:
        raise InvalidInputError(
            f"an entry is of 1 to {INT64_MAX} nano-units, not {entry.amount_nano}; swap its accounts"
        )
    if entry.debit == entry.credit:
        raise InvalidInputError(f"an entry moves money between two accounts, not from '{entry.debit.code}' to itself")
    check_period(entry.period)
    return entry if entry.service_period else replace(entry, service_period=entry.period)


def _same_event(connection: sa.Connection, entry: Entry) -> int | None:
    if entry.event_id is None:
        return None
    table = tables.ledger_entries
    query = sa.select(table.c.id).where(table.c.event_id == entry.event_id, table.c.kind == entry.kind)
    entry_id: int | None = connection.scalar(query)
    if entry_id is None:
        return None
    there = read_entry(connection, entry_id)
    # A retry may come after its month was closed, and with other words.
    if replace(there, period=entry.period, note=entry.note) != entry:
        raise ConflictError(
            f"'{entry.event_id}' was posted already as '{entry.kind}', with {there.amount_nano} nano-units of "
            f"{there.currency}; correct it by reversing entry {entry_id}"
        )
    return entry_id
