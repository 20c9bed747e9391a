"""Usage is counted by project; prices belong to plans, know megabytes and tiers; changes are counted."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("usage_events", sa.Column("project_id", sa.Text(), nullable=False, server_default=""))
    op.add_column("usage_events", sa.Column("cap_nano", sa.BigInteger(), nullable=False, server_default="0"))
    not_negative = sa.CheckConstraint("per_megabyte_nano >= 0")
    op.add_column(
        "prices", sa.Column("per_megabyte_nano", sa.BigInteger(), not_negative, nullable=False, server_default="0")
    )
    op.add_column("prices", sa.Column("plan_id", sa.Text()))
    op.add_column("prices", sa.Column("tiers", sa.Text(), nullable=False, server_default="{}"))
    counter = op.create_table(
        "change_counter",
        sa.Column("id", sa.Integer(), sa.CheckConstraint("id = 1", name="one_counter"), autoincrement=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.bulk_insert(counter, [{"id": 1, "value": 0}])
    op.create_table(
        "installation",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )


def downgrade() -> None:
    op.drop_table("installation")
    op.drop_table("change_counter")
    for name in ("tiers", "plan_id", "per_megabyte_nano"):
        op.drop_column("prices", name)
    for name in ("cap_nano", "project_id"):
        op.drop_column("usage_events", name)
