"""Rollouts: a version's way to answering everybody, what was counted on it, and each decision."""

import sqlalchemy as sa
from alembic import op

from airserve.storage.migrations.append_only import only_grows

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "rollouts",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("alias", sa.Text(), nullable=False),
        sa.Column("from_version", sa.Integer(), nullable=False),
        sa.Column("to_version", sa.Integer(), nullable=False),
        sa.Column("steps", sa.Text(), nullable=False),
        sa.Column("every_ns", sa.BigInteger(), nullable=False),
        sa.Column("guards", sa.Text(), nullable=False),
        sa.Column("shadow", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("stage", sa.Integer(), nullable=False),
        sa.Column("stage_ns", sa.BigInteger(), nullable=False),
        sa.Column("started_ns", sa.BigInteger(), nullable=False),
        sa.Column("ended_ns", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["model", "from_version"], ["versions.model", "versions.version"]),
        sa.ForeignKeyConstraint(["model", "to_version"], ["versions.model", "versions.version"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("rollouts_by_model", "rollouts", ["model"])
    op.create_table(
        "rollout_counts",
        sa.Column("rollout_id", sa.Text(), nullable=False),
        sa.Column("stage", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("node_id", sa.Text(), nullable=False),
        sa.Column("counts", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["rollout_id"], ["rollouts.id"]),
        sa.PrimaryKeyConstraint("rollout_id", "stage", "node_id"),
    )
    op.create_table(
        "rollout_decisions",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("rollout_id", sa.Text(), nullable=False),
        sa.Column("at_ns", sa.BigInteger(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("stage", sa.Integer(), nullable=False),
        sa.Column("percent", sa.Float(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("figures", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["rollout_id"], ["rollouts.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("rollout_decisions_by_rollout", "rollout_decisions", ["rollout_id"])
    only_grows("rollout_decisions")


def downgrade() -> None:
    op.drop_index("rollout_decisions_by_rollout", table_name="rollout_decisions")
    op.drop_table("rollout_decisions")
    op.drop_table("rollout_counts")
    op.drop_index("rollouts_by_model", table_name="rollouts")
    op.drop_table("rollouts")
