"""What the database knows of itself, and how often it was changed."""

from __future__ import annotations

import sqlalchemy as sa

from airserve.storage.tables.metadata import metadata

# How often anything was changed that servers keep a snapshot of: keys, plans, prices, models.
change_counter = sa.Table(
    "change_counter",
    metadata,
    sa.Column(
        "id", sa.Integer, sa.CheckConstraint("id = 1", name="one_counter"), primary_key=True, autoincrement=False
    ),
    sa.Column("value", sa.BigInteger, nullable=False),
)

# Facts that all servers of one database must agree on, by name.
installation = sa.Table(
    "installation",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)
