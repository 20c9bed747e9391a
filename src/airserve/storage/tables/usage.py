"""What was used, at which price, and how far the journals were read."""

from __future__ import annotations

import sqlalchemy as sa

from airserve.storage.tables.metadata import metadata

prices = sa.Table(
    "prices",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("per_call_nano", sa.BigInteger, nullable=False),
    sa.Column("per_compute_second_nano", sa.BigInteger, nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("created_ns", sa.BigInteger, nullable=False),
    *(
        sa.Column(name, sa.BigInteger, sa.CheckConstraint(f"{name} >= 0"), nullable=False, server_default="0")
        for name in (
            "per_million_input_tokens_nano",
            "per_million_cached_tokens_nano",
            "per_million_output_tokens_nano",
        )
    ),
    sa.Column(
        "per_megabyte_nano",
        sa.BigInteger,
        sa.CheckConstraint("per_megabyte_nano >= 0"),
        nullable=False,
        server_default="0",
    ),
    sa.Column("plan_id", sa.Text),
    sa.Column("tiers", sa.Text, nullable=False, server_default="{}"),
    sa.CheckConstraint("per_call_nano >= 0 AND per_compute_second_nano >= 0", name="price_not_negative"),
)

# No foreign keys in here: what was used is recorded even if what it refers to is not known (any more).
usage_events = sa.Table(
    "usage_events",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("tenant_id", sa.Text, nullable=False),
    sa.Column("key_id", sa.Text, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("price_id", sa.BigInteger, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("bytes_in", sa.BigInteger, nullable=False),
    sa.Column("bytes_out", sa.BigInteger, nullable=False),
    sa.Column("compute_ns", sa.BigInteger, nullable=False),
    sa.Column("amount_nano", sa.BigInteger, nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("admitted_ns", sa.BigInteger, nullable=False),
    sa.Column("input_tokens", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("cached_tokens", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("output_tokens", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("project_id", sa.Text, nullable=False, server_default=""),
    sa.Column("cap_nano", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("node_id", sa.Text, nullable=False),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("lsn", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("node_id", "epoch", "lsn", name="usage_event_position"),
    sa.Index("usage_events_by_tenant", "tenant_id", "admitted_ns"),
)

journal_marks = sa.Table(
    "journal_marks",
    metadata,
    sa.Column("node_id", sa.Text, primary_key=True),
    sa.Column("epoch", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("segment", sa.BigInteger, nullable=False),
    sa.Column("offset", sa.BigInteger, nullable=False),
    sa.Column("lsn", sa.BigInteger, nullable=False),
)

# Streams of text that have begun and not ended; `event` is the newest record of each, as the journal has it.
unfinished_calls = sa.Table(
    "unfinished_calls",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("node_id", sa.Text, nullable=False),
    sa.Column("event", sa.LargeBinary, nullable=False),
)
