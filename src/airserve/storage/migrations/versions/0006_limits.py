"""Limits that hold across processes: nodes, leases of credit and of calls, idempotent answers."""

import datetime as dt

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_WINDOW = ("scope", "scope_id", "period")
_DAY_NS = 86_400_000_000_000


def upgrade() -> None:
    op.create_table(
        "nodes",
        sa.Column("node_id", sa.Text(), primary_key=True),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("started_ns", sa.BigInteger(), nullable=False),
        sa.Column("heartbeat_ns", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "budget_windows",
        *(sa.Column(name, sa.Text(), primary_key=True) for name in _WINDOW),
        sa.Column("start_ns", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("spent_nano", sa.BigInteger(), nullable=False),
        sa.Column("leased_nano", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("wanted_ns", sa.BigInteger(), nullable=False, server_default="0"),
        sa.CheckConstraint("spent_nano >= 0 AND leased_nano >= 0", name="budget_window_not_negative"),
    )
    op.create_table(
        "leases",
        sa.Column("node_id", sa.Text(), primary_key=True),
        sa.Column("epoch", sa.BigInteger(), primary_key=True, autoincrement=False),
        *(sa.Column(name, sa.Text(), primary_key=True) for name in _WINDOW),
        sa.Column("start_ns", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("left_nano", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("left_nano >= 0", name="lease_not_negative"),
    )
    op.create_table(
        "rate_states",
        *(sa.Column(name, sa.Text(), primary_key=True) for name in ("scope", "scope_id", "name")),
        sa.Column("tat_ns", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "idempotent_answers",
        *(sa.Column(name, sa.Text(), primary_key=True) for name in ("scope", "key")),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("node_id", sa.Text(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Integer()),
        sa.Column("headers", sa.LargeBinary()),
        sa.Column("body", sa.LargeBinary()),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("expires_ns", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("state IN ('open', 'done', 'large')", name="idempotent_answer_state"),
    )
    op.create_index("idempotent_answers_by_expiry", "idempotent_answers", ["expires_ns"])
    _count_what_was_spent()


def _count_what_was_spent() -> None:
    """The windows that are open now; what older ones hold no longer limits anybody."""
    today = dt.datetime.now(dt.UTC).date()
    starts = {"total": 0, "month": _start_ns(today.replace(day=1)), "day": _start_ns(today)}
    for scope in ("tenant", "project", "key"):
        for period, start_ns in starts.items():
            op.execute(
                "INSERT INTO budget_windows (scope, scope_id, period, start_ns, spent_nano) "
                f"SELECT '{scope}', {scope}_id, '{period}', {start_ns}, CAST(SUM(amount_nano) AS BIGINT) "
                f"FROM usage_events WHERE admitted_ns >= {start_ns} AND {scope}_id <> '' AND amount_nano > 0 "
                f"GROUP BY {scope}_id"
            )


def _start_ns(day: dt.date) -> int:
    return (day - dt.date(1970, 1, 1)).days * _DAY_NS


def downgrade() -> None:
    for table in ("idempotent_answers", "rate_states", "leases", "budget_windows", "nodes"):
        op.drop_table(table)
