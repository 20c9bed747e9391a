"""Every table, as the newest migration leaves it. Portable to PostgreSQL.

Times are int64 nanoseconds UTC, money int64 nano-units (1e-9 of a currency). `prices`, `alias_changes` and
`usage_events` only grow: triggers refuse every UPDATE and DELETE.
"""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData()

tenants = sa.Table(
    "tenants",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("created_ns", sa.BigInteger, nullable=False),
    sa.CheckConstraint("status IN ('active', 'suspended', 'closed')", name="tenant_status"),
)

api_keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("tenant_id", sa.Text, sa.ForeignKey("tenants.id")),
    sa.Column("mac", sa.LargeBinary, nullable=False, unique=True),
    sa.Column("prefix", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("models", sa.Text),
    sa.Column("created_ns", sa.BigInteger, nullable=False),
    sa.Column("expires_ns", sa.BigInteger),
    sa.Column("revoked_ns", sa.BigInteger),
    sa.CheckConstraint(
        "(kind = 'tenant' AND tenant_id IS NOT NULL) OR (kind = 'operator' AND tenant_id IS NULL)", name="key_kind"
    ),
)

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
    sa.CheckConstraint("per_call_nano >= 0 AND per_compute_second_nano >= 0", name="price_not_negative"),
)

models = sa.Table(
    "models",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("created_ns", sa.BigInteger, nullable=False),
)

versions = sa.Table(
    "versions",
    metadata,
    sa.Column("model", sa.Text, sa.ForeignKey("models.name"), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("address", sa.Text, nullable=False),
    sa.Column("engine", sa.Text, nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("manifest", sa.Text, nullable=False),
    sa.Column("published_ns", sa.BigInteger, nullable=False),
    sa.Column("retired_ns", sa.BigInteger),
    sa.UniqueConstraint("model", "address", name="version_content"),
)

_version_reference = ("model", "version"), ("versions.model", "versions.version")

aliases = sa.Table(
    "aliases",
    metadata,
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("alias", sa.Text, primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("changed_ns", sa.BigInteger, nullable=False),
    sa.ForeignKeyConstraint(*_version_reference),
)

alias_changes = sa.Table(
    "alias_changes",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("alias", sa.Text, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("changed_ns", sa.BigInteger, nullable=False),
    sa.ForeignKeyConstraint(*_version_reference),
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
