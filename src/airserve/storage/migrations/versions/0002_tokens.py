"""Tokens: counted for each call, and priced by the million."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

COUNTS = ("input_tokens", "cached_tokens", "output_tokens")
PRICES = ("per_million_input_tokens_nano", "per_million_cached_tokens_nano", "per_million_output_tokens_nano")


def upgrade() -> None:
    # Plain ADD COLUMN with a default: copying the tables, as batch mode does, would lose their append-only triggers.
    for name in COUNTS:
        op.add_column("usage_events", sa.Column(name, sa.BigInteger(), nullable=False, server_default="0"))
    for name in PRICES:
        not_negative = sa.CheckConstraint(f"{name} >= 0")
        op.add_column("prices", sa.Column(name, sa.BigInteger(), not_negative, nullable=False, server_default="0"))


def downgrade() -> None:
    for name in PRICES:
        op.drop_column("prices", name)
    for name in COUNTS:
        op.drop_column("usage_events", name)
