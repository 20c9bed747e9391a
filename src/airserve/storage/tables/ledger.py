"""The double-entry ledger: accounts, entries that only grow, and balances that can be built again from them.

Every amount moves from one account to another: an entry debits one and credits one, so debits and credits are equal by
construction. A mistake is corrected by an entry that reverses it, never by a change.
"""

from __future__ import annotations

import sqlalchemy as sa

from airserve.storage.tables.metadata import metadata

# `tenant_id` '' is the house. An account is in one currency.
ledger_accounts = sa.Table(
    "ledger_accounts",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("code", sa.Text, nullable=False),
    sa.Column("tenant_id", sa.Text, nullable=False, server_default=""),
    sa.Column("currency", sa.Text, nullable=False),
    sa.UniqueConstraint("code", "tenant_id", "currency", name="ledger_account_name"),
)

# `tenant_id` is whose bill the entry is about, `period` the month (UTC, '2026-01') in which it is billed, and
# `service_period` the month in which the service was given: an earlier one where that was closed already. `event_id`
# is what happened: a row of `usage_events`, a payment, anything that must be posted once for each kind of entry.
ledger_entries = sa.Table(
    "ledger_entries",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("debit_id", sa.Integer, sa.ForeignKey("ledger_accounts.id"), nullable=False),
    sa.Column("credit_id", sa.Integer, sa.ForeignKey("ledger_accounts.id"), nullable=False),
    sa.Column("amount_nano", sa.BigInteger, nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("tenant_id", sa.Text, nullable=False),
    sa.Column("period", sa.Text, nullable=False),
    sa.Column("service_period", sa.Text, nullable=False),
    sa.Column("event_id", sa.Text),
    sa.Column("price_id", sa.BigInteger),
    sa.Column("invoice_id", sa.Text),
    sa.Column("reverses", sa.BigInteger().with_variant(sa.Integer, "sqlite"), sa.ForeignKey("ledger_entries.id")),
    sa.Column("note", sa.Text, nullable=False, server_default=""),
    sa.Column("posted_ns", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("event_id", "kind", name="ledger_entry_event"),
    sa.UniqueConstraint("reverses", name="ledger_entry_reversal"),
    sa.CheckConstraint("amount_nano > 0", name="ledger_entry_amount"),
    sa.CheckConstraint("debit_id <> credit_id", name="ledger_entry_accounts"),
    sa.Index("ledger_entries_by_tenant", "tenant_id", "period"),
)

# A cache: the sums over `ledger_entries` by month, kept in the same transaction. `airserve audit` compares the two. By
# month, since int64 nano-units end at 9.2e9 units of a currency.
ledger_balances = sa.Table(
    "ledger_balances",
    metadata,
    sa.Column("account_id", sa.Integer, sa.ForeignKey("ledger_accounts.id"), primary_key=True, autoincrement=False),
    sa.Column("period", sa.Text, primary_key=True),
    sa.Column("debits_nano", sa.BigInteger, nullable=False),
    sa.Column("credits_nano", sa.BigInteger, nullable=False),
    sa.CheckConstraint("debits_nano >= 0 AND credits_nano >= 0", name="ledger_balance_not_negative"),
)

# The months of a tenant that were invoiced: no entry behind `last_entry_id` is in them, or in any before. Only grows.
closed_periods = sa.Table(
    "closed_periods",
    metadata,
    sa.Column("tenant_id", sa.Text, primary_key=True),
    sa.Column("period", sa.Text, primary_key=True),
    sa.Column("closed_ns", sa.BigInteger, nullable=False),
    sa.Column("last_entry_id", sa.BigInteger, nullable=False),
)
