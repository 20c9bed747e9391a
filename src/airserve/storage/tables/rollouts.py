"""Versions on their way to answering everybody: what was asked for, what was counted, what was decided."""

from __future__ import annotations

import sqlalchemy as sa

from airserve.storage.tables.metadata import metadata

rollouts = sa.Table(
    "rollouts",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("alias", sa.Text, nullable=False),
    sa.Column("from_version", sa.Integer, nullable=False),
    sa.Column("to_version", sa.Integer, nullable=False),
    sa.Column("steps", sa.Text, nullable=False),
    sa.Column("every_ns", sa.BigInteger, nullable=False),
    sa.Column("guards", sa.Text, nullable=False),
    sa.Column("shadow", sa.Integer, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("stage", sa.Integer, nullable=False),
    sa.Column("stage_ns", sa.BigInteger, nullable=False),
    sa.Column("started_ns", sa.BigInteger, nullable=False),
    sa.Column("ended_ns", sa.BigInteger),
    sa.Column("reason", sa.Text, nullable=False),
    sa.ForeignKeyConstraint(("model", "from_version"), ("versions.model", "versions.version")),
    sa.ForeignKeyConstraint(("model", "to_version"), ("versions.model", "versions.version")),
    sa.Index("rollouts_by_model", "model"),
)

rollout_counts = sa.Table(
    "rollout_counts",
    metadata,
    sa.Column("rollout_id", sa.Text, sa.ForeignKey("rollouts.id"), primary_key=True),
    sa.Column("stage", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("node_id", sa.Text, primary_key=True),
    sa.Column("counts", sa.Text, nullable=False),
)

rollout_decisions = sa.Table(
    "rollout_decisions",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("rollout_id", sa.Text, sa.ForeignKey("rollouts.id"), nullable=False),
    sa.Column("at_ns", sa.BigInteger, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("stage", sa.Integer, nullable=False),
    sa.Column("percent", sa.Float, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("figures", sa.Text, nullable=False),
    sa.Index("rollout_decisions_by_rollout", "rollout_id"),
)
