"""Customers: tenants, their projects, members and keys; plans, subscriptions and budgets."""

from __future__ import annotations

import sqlalchemy as sa

from airserve.storage.tables.metadata import metadata

tenants = sa.Table(
    "tenants",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("created_ns", sa.BigInteger, nullable=False),
    sa.Column("currency", sa.Text, nullable=False, server_default="EUR"),
    sa.CheckConstraint("status IN ('active', 'suspended', 'closed')", name="tenant_status"),
)

projects = sa.Table(
    "projects",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("tenant_id", sa.Text, sa.ForeignKey("tenants.id"), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("payload_logging", sa.Text, nullable=False, server_default="{}"),
    sa.Column("created_ns", sa.BigInteger, nullable=False),
    sa.Column("archived_ns", sa.BigInteger),
    sa.UniqueConstraint("tenant_id", "name", name="project_name"),
)

members = sa.Table(
    "members",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("tenant_id", sa.Text, sa.ForeignKey("tenants.id"), nullable=False),
    sa.Column("email", sa.Text, nullable=False),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("created_ns", sa.BigInteger, nullable=False),
    sa.Column("removed_ns", sa.BigInteger),
    sa.UniqueConstraint("tenant_id", "email", name="member_email"),
    sa.CheckConstraint("role IN ('owner', 'developer', 'billing', 'viewer')", name="member_role"),
)

# Scopes are JSON arrays of text; NULL is no restriction. `expires_ns` also ends a key that was replaced. `counted_as`
# is the first key of a chain of replacements, under whose id usage and budgets go on (NULL: the key itself).
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
    sa.Column("project_id", sa.Text),
    sa.Column("member_id", sa.Text),
    sa.Column("routes", sa.Text),
    sa.Column("addresses", sa.Text),
    sa.Column("not_before_ns", sa.BigInteger),
    sa.Column("replaced_by", sa.Text),
    sa.Column("counted_as", sa.Text),
    sa.Column("created_by", sa.Text, nullable=False, server_default=""),
    sa.Column("cert_sha256", sa.Text),
    sa.Column("last_used_ns", sa.BigInteger),
    sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="key_project"),
    sa.ForeignKeyConstraint(["member_id"], ["members.id"], name="key_member"),
    sa.CheckConstraint(
        "(kind = 'tenant' AND tenant_id IS NOT NULL AND project_id IS NOT NULL AND member_id IS NULL) OR "
        "(kind = 'member' AND tenant_id IS NOT NULL AND project_id IS NULL AND member_id IS NOT NULL) OR "
        "(kind = 'operator' AND tenant_id IS NULL AND project_id IS NULL AND member_id IS NULL)",
        name="key_kind",
    ),
)

# Only grows: a published version never changes. Its prices are the rows of `prices` with its id.
plans = sa.Table(
    "plans",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("code", sa.Text, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("terms", sa.Text, nullable=False),
    sa.Column("created_ns", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("code", "version", name="plan_version"),
)

# Only grows: at any moment the row with the largest id that has started holds; `plan_id` NULL is no plan.
subscriptions = sa.Table(
    "subscriptions",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("tenant_id", sa.Text, sa.ForeignKey("tenants.id"), nullable=False),
    sa.Column("plan_id", sa.Text, sa.ForeignKey("plans.id")),
    sa.Column("starts_ns", sa.BigInteger, nullable=False),
    sa.Column("created_ns", sa.BigInteger, nullable=False),
    sa.Index("subscriptions_by_tenant", "tenant_id"),
)

budgets = sa.Table(
    "budgets",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("tenant_id", sa.Text, sa.ForeignKey("tenants.id"), nullable=False),
    sa.Column("scope", sa.Text, nullable=False),
    sa.Column("scope_id", sa.Text, nullable=False),
    sa.Column("period", sa.Text, nullable=False),
    sa.Column("mode", sa.Text, nullable=False),
    sa.Column("limit_nano", sa.BigInteger, nullable=False),
    sa.Column("created_ns", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("scope", "scope_id", "period", "mode", name="budget_over"),
    sa.CheckConstraint("scope IN ('tenant', 'project', 'key')", name="budget_scope"),
    sa.CheckConstraint("limit_nano >= 0", name="budget_limit"),
)

client_authorities = sa.Table(
    "client_authorities",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("tenant_id", sa.Text, sa.ForeignKey("tenants.id"), nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("pem", sa.Text, nullable=False),
    sa.Column("expires_ns", sa.BigInteger, nullable=False),
    sa.Column("created_ns", sa.BigInteger, nullable=False),
)
