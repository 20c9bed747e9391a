"""Customers: projects, members, scopes of keys, plans, subscriptions, budgets."""

import secrets

import sqlalchemy as sa
from alembic import op

from airserve.storage.migrations.append_only import only_grows

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TEXT_OF_KEYS = ("project_id", "member_id", "routes", "addresses", "replaced_by", "counted_as", "cert_sha256")
TIMES_OF_KEYS = ("not_before_ns", "last_used_ns")
KIND_BEFORE = "(kind = 'tenant' AND tenant_id IS NOT NULL) OR (kind = 'operator' AND tenant_id IS NULL)"
KIND = (
    "(kind = 'tenant' AND tenant_id IS NOT NULL AND project_id IS NOT NULL AND member_id IS NULL) OR "
    "(kind = 'member' AND tenant_id IS NOT NULL AND project_id IS NULL AND member_id IS NOT NULL) OR "
    "(kind = 'operator' AND tenant_id IS NULL AND project_id IS NULL AND member_id IS NULL)"
)


def upgrade() -> None:
    op.add_column("tenants", sa.Column("currency", sa.Text(), nullable=False, server_default="EUR"))
    _create_customers()
    _create_plans()
    with op.batch_alter_table("api_keys", copy_from=_keys(KIND_BEFORE)) as keys:
        for name in TEXT_OF_KEYS:
            keys.add_column(sa.Column(name, sa.Text()))
        for name in TIMES_OF_KEYS:
            keys.add_column(sa.Column(name, sa.BigInteger()))
        keys.add_column(sa.Column("created_by", sa.Text(), nullable=False, server_default=""))
        keys.create_foreign_key("key_project", "projects", ["project_id"], ["id"])
        keys.create_foreign_key("key_member", "members", ["member_id"], ["id"])
        keys.drop_constraint("key_kind", type_="check")
    _make_default_projects()
    with op.batch_alter_table("api_keys", copy_from=_keys(None, new=True)) as keys:
        keys.create_check_constraint("key_kind", KIND)


def downgrade() -> None:
    # Keys of members have no place in the older schema.
    op.execute("DELETE FROM api_keys WHERE kind = 'member'")
    with op.batch_alter_table("api_keys", copy_from=_keys(KIND, new=True)) as keys:
        keys.drop_constraint("key_kind", type_="check")
        keys.drop_constraint("key_project", type_="foreignkey")
        keys.drop_constraint("key_member", type_="foreignkey")
        for name in (*TEXT_OF_KEYS, *TIMES_OF_KEYS, "created_by"):
            keys.drop_column(name)
        keys.create_check_constraint("key_kind", KIND_BEFORE)
    for table in ("budgets", "subscriptions", "plans", "members", "projects"):
        op.drop_table(table)
    op.drop_column("tenants", "currency")


def _keys(kind: str | None, *, new: bool = False) -> sa.Table:
    """The keys' table as it is at this step: SQLite copies the rows into it."""
    columns: list[sa.schema.SchemaItem] = [
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), sa.ForeignKey("tenants.id")),
        sa.Column("mac", sa.LargeBinary(), nullable=False),
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("models", sa.Text()),
        sa.Column("created_ns", sa.BigInteger(), nullable=False),
        sa.Column("expires_ns", sa.BigInteger()),
        sa.Column("revoked_ns", sa.BigInteger()),
        sa.UniqueConstraint("mac"),
    ]
    if new:
        columns += [sa.Column(name, sa.Text()) for name in TEXT_OF_KEYS]
        columns += [sa.Column(name, sa.BigInteger()) for name in TIMES_OF_KEYS]
        columns += [
            sa.Column("created_by", sa.Text(), nullable=False, server_default=""),
            sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="key_project"),
            sa.ForeignKeyConstraint(["member_id"], ["members.id"], name="key_member"),
        ]
    if kind is not None:
        columns.append(sa.CheckConstraint(kind, name="key_kind"))
    return sa.Table("api_keys", sa.MetaData(), *columns)


def _create_customers() -> None:
    op.create_table(
        "projects",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("payload_logging", sa.Text(), nullable=False, server_default="{}"),
        sa.Column("created_ns", sa.BigInteger(), nullable=False),
        sa.Column("archived_ns", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("tenant_id", "name", name="project_name"),
    )
    op.create_table(
        "members",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("created_ns", sa.BigInteger(), nullable=False),
        sa.Column("removed_ns", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("role IN ('owner', 'developer', 'billing', 'viewer')", name="member_role"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("tenant_id", "email", name="member_email"),
    )
    op.create_table(
        "budgets",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("scope_id", sa.Text(), nullable=False),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("limit_nano", sa.BigInteger(), nullable=False),
        sa.Column("created_ns", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("scope IN ('tenant', 'project', 'key')", name="budget_scope"),
        sa.CheckConstraint("limit_nano >= 0", name="budget_limit"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("scope", "scope_id", "period", "mode", name="budget_over"),
    )


def _create_plans() -> None:
    op.create_table(
        "plans",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("terms", sa.Text(), nullable=False),
        sa.Column("created_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("code", "version", name="plan_version"),
    )
    op.create_table(
        "subscriptions",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("plan_id", sa.Text(), nullable=True),
        sa.Column("starts_ns", sa.BigInteger(), nullable=False),
        sa.Column("created_ns", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["plan_id"], ["plans.id"]),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("subscriptions_by_tenant", "subscriptions", ["tenant_id"])
    only_grows("plans")
    only_grows("subscriptions")


def _make_default_projects() -> None:
    """A project `default` for each tenant there is, and its keys into it."""
    connection = op.get_bind()
    for tenant_id, created_ns in connection.execute(sa.text("SELECT id, created_ns FROM tenants")).all():
        values = {"project": f"prj_{secrets.token_hex(10)}", "tenant": tenant_id, "now": created_ns}
        connection.execute(
            sa.text(
                "INSERT INTO projects (id, tenant_id, name, created_ns) VALUES (:project, :tenant, 'default', :now)"
            ),
            values,
        )
        connection.execute(
            sa.text("UPDATE api_keys SET project_id = :project WHERE tenant_id = :tenant"),
            {"project": values["project"], "tenant": tenant_id},
        )
