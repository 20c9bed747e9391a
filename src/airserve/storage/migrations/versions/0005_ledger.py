"""The ledger: accounts, entries, balances, closed months; calls that were folded before are posted."""

import sqlalchemy as sa
from alembic import op

from airserve.storage.migrations.append_only import only_grows

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "ledger_accounts",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False, server_default=""),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.UniqueConstraint("code", "tenant_id", "currency", name="ledger_account_name"),
    )
    op.create_table(
        "ledger_entries",
        sa.Column("id", _BIG_ID, primary_key=True, autoincrement=True),
        sa.Column("debit_id", sa.Integer(), sa.ForeignKey("ledger_accounts.id"), nullable=False),
        sa.Column("credit_id", sa.Integer(), sa.ForeignKey("ledger_accounts.id"), nullable=False),
        sa.Column("amount_nano", sa.BigInteger(), nullable=False),
        *(
            sa.Column(name, sa.Text(), nullable=False)
            for name in ("currency", "kind", "tenant_id", "period", "service_period")
        ),
        sa.Column("event_id", sa.Text()),
        sa.Column("price_id", sa.BigInteger()),
        sa.Column("invoice_id", sa.Text()),
        sa.Column("reverses", _BIG_ID, sa.ForeignKey("ledger_entries.id")),
        sa.Column("note", sa.Text(), nullable=False, server_default=""),
        sa.Column("posted_ns", sa.BigInteger(), nullable=False),
        sa.UniqueConstraint("event_id", "kind", name="ledger_entry_event"),
        sa.UniqueConstraint("reverses", name="ledger_entry_reversal"),
        sa.CheckConstraint("amount_nano > 0", name="ledger_entry_amount"),
        sa.CheckConstraint("debit_id <> credit_id", name="ledger_entry_accounts"),
    )
    op.create_index("ledger_entries_by_tenant", "ledger_entries", ["tenant_id", "period"])
    op.create_table(
        "ledger_balances",
        sa.Column(
            "account_id", sa.Integer(), sa.ForeignKey("ledger_accounts.id"), primary_key=True, autoincrement=False
        ),
        sa.Column("period", sa.Text(), primary_key=True),
        sa.Column("debits_nano", sa.BigInteger(), nullable=False),
        sa.Column("credits_nano", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("debits_nano >= 0 AND credits_nano >= 0", name="ledger_balance_not_negative"),
    )
    op.create_table(
        "closed_periods",
        sa.Column("tenant_id", sa.Text(), primary_key=True),
        sa.Column("period", sa.Text(), primary_key=True),
        sa.Column("closed_ns", sa.BigInteger(), nullable=False),
        sa.Column("last_entry_id", sa.BigInteger(), nullable=False),
    )
    _post_what_was_folded()
    for table in ("ledger_accounts", "ledger_entries", "closed_periods"):
        only_grows(table)


def _post_what_was_folded() -> None:
    """One entry for each call that cost something before there was a ledger; months by SQL that both databases read."""
    month = {
        "sqlite": "strftime('%Y-%m', e.admitted_ns / 1000000000, 'unixepoch')",
        "postgresql": "to_char(to_timestamp(e.admitted_ns / 1000000000) AT TIME ZONE 'UTC', 'YYYY-MM')",
    }[op.get_bind().dialect.name]
    op.execute(
        "INSERT INTO ledger_accounts (code, tenant_id, currency) SELECT 'receivable', tenant_id, currency "
        "FROM usage_events WHERE amount_nano > 0 GROUP BY tenant_id, currency"
    )
    op.execute(
        "INSERT INTO ledger_accounts (code, tenant_id, currency) SELECT 'revenue', '', currency "
        "FROM usage_events WHERE amount_nano > 0 GROUP BY currency"
    )
    op.execute(
        "INSERT INTO ledger_entries (debit_id, credit_id, amount_nano, currency, kind, tenant_id, period, "
        "service_period, event_id, price_id, posted_ns) "
        "SELECT d.id, c.id, e.amount_nano, e.currency, 'usage', e.tenant_id, " + f"{month}, {month}, e.id, e.price_id, "
        "e.admitted_ns FROM usage_events e "
        "JOIN ledger_accounts d ON d.code = 'receivable' AND d.tenant_id = e.tenant_id AND d.currency = e.currency "
        "JOIN ledger_accounts c ON c.code = 'revenue' AND c.currency = e.currency "
        "WHERE e.amount_nano > 0 ORDER BY e.node_id, e.epoch, e.lsn"
    )
    op.execute(
        "INSERT INTO ledger_balances (account_id, period, debits_nano, credits_nano) "
        "SELECT account_id, period, SUM(debit), SUM(credit) FROM ("
        "SELECT debit_id AS account_id, period, amount_nano AS debit, 0 AS credit FROM ledger_entries UNION ALL "
        "SELECT credit_id, period, 0, amount_nano FROM ledger_entries) AS moved GROUP BY account_id, period"
    )


def downgrade() -> None:
    for table in ("closed_periods", "ledger_balances", "ledger_entries", "ledger_accounts"):
        op.drop_table(table)
