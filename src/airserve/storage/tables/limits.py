"""What holds across processes: nodes, budgets and the credit leased from them, shared rates, idempotent answers."""

from __future__ import annotations

import sqlalchemy as sa

from airserve.storage.tables.metadata import metadata

# A serving process, by the node whose journal it writes; `epoch` is that of its latest start.
nodes = sa.Table(
    "nodes",
    metadata,
    sa.Column("node_id", sa.Text, primary_key=True),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("started_ns", sa.BigInteger, nullable=False),
    sa.Column("heartbeat_ns", sa.BigInteger, nullable=False),
)

# What was spent in a period of a tenant, project or key, and how much credit its nodes hold beside that.
budget_windows = sa.Table(
    "budget_windows",
    metadata,
    sa.Column("scope", sa.Text, primary_key=True),
    sa.Column("scope_id", sa.Text, primary_key=True),
    sa.Column("period", sa.Text, primary_key=True),
    sa.Column("start_ns", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("spent_nano", sa.BigInteger, nullable=False),
    sa.Column("leased_nano", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("wanted_ns", sa.BigInteger, nullable=False, server_default="0"),
    sa.CheckConstraint("spent_nano >= 0 AND leased_nano >= 0", name="budget_window_not_negative"),
)

# Credit that one start of a node holds and that was not yet spent in the ledger.
leases = sa.Table(
    "leases",
    metadata,
    sa.Column("node_id", sa.Text, primary_key=True),
    sa.Column("epoch", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("scope", sa.Text, primary_key=True),
    sa.Column("scope_id", sa.Text, primary_key=True),
    sa.Column("period", sa.Text, primary_key=True),
    sa.Column("start_ns", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("left_nano", sa.BigInteger, nullable=False),
    sa.CheckConstraint("left_nano >= 0", name="lease_not_negative"),
)

# The theoretical arrival time (GCRA) of a limit that several nodes share, UTC.
rate_states = sa.Table(
    "rate_states",
    metadata,
    sa.Column("scope", sa.Text, primary_key=True),
    sa.Column("scope_id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("tat_ns", sa.BigInteger, nullable=False),
)

# Answers by the client's own key, so that a retry is answered and billed once.
idempotent_answers = sa.Table(
    "idempotent_answers",
    metadata,
    sa.Column("scope", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("fingerprint", sa.LargeBinary, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("node_id", sa.Text, nullable=False),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("status", sa.Integer),
    sa.Column("headers", sa.LargeBinary),
    sa.Column("body", sa.LargeBinary),
    sa.Column("size_bytes", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("expires_ns", sa.BigInteger, nullable=False),
    sa.CheckConstraint("state IN ('open', 'done', 'large')", name="idempotent_answer_state"),
    sa.Index("idempotent_answers_by_expiry", "expires_ns"),
)
