"""Invoices, credit notes, webhooks, exports."""

import sqlalchemy as sa
from alembic import op

from airserve.storage.migrations.append_only import only_grows

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

APPEND_ONLY = ("invoices", "invoice_lines", "invoice_changes", "webhook_messages")
TABLES = (
    "billing_details",
    "invoices",
    "invoice_lines",
    "invoice_changes",
    "webhook_endpoints",
    "webhook_messages",
    "webhook_deliveries",
    "export_marks",
    "export_refusals",
    "payment_customers",
)


def upgrade() -> None:
    op.create_table(
        "billing_details",
        sa.Column("tenant_id", sa.Text, sa.ForeignKey("tenants.id"), primary_key=True),
        sa.Column("legal_name", sa.Text, nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("email", sa.Text, nullable=False),
        sa.Column("tax_id", sa.Text, nullable=False),
        sa.Column("tax_name", sa.Text, nullable=False),
        sa.Column("tax_ppm", sa.BigInteger, nullable=False),
        sa.Column("tax_note", sa.Text, nullable=False),
        sa.Column("payment_days", sa.BigInteger, nullable=False),
        sa.CheckConstraint("tax_ppm >= 0 AND tax_ppm <= 1000000", name="tax_share"),
    )
    op.create_table(
        "invoices",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("series", sa.Text, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("tenant_id", sa.Text, nullable=False),
        sa.Column("period", sa.Text, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("net_minor", sa.BigInteger, nullable=False),
        sa.Column("tax_minor", sa.BigInteger, nullable=False),
        sa.Column("total_minor", sa.BigInteger, nullable=False),
        sa.Column("credits", sa.Text, sa.ForeignKey("invoices.id")),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("issued_ns", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("series", "number", name="invoice_number"),
        sa.CheckConstraint(
            "(kind = 'invoice' AND credits IS NULL) OR (kind = 'credit_note' AND credits IS NOT NULL)",
            name="invoice_kind",
        ),
    )
    op.create_table(
        "invoice_lines",
        sa.Column("invoice_id", sa.Text, sa.ForeignKey("invoices.id"), primary_key=True),
        sa.Column("line", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("service_period", sa.Text, nullable=False),
        sa.Column("project_id", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("unit", sa.Text, nullable=False),
        sa.Column("price_id", sa.BigInteger, nullable=False),
        sa.Column("quantity", sa.BigInteger, nullable=False),
        sa.Column("amount_nano", sa.BigInteger, nullable=False),
        sa.Column("amount_minor", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "invoice_changes",
        sa.Column("invoice_id", sa.Text, sa.ForeignKey("invoices.id"), primary_key=True),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("at_ns", sa.BigInteger, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.CheckConstraint("state IN ('paid', 'void')", name="invoice_state"),
    )
    op.create_table(
        "webhook_endpoints",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("tenant_id", sa.Text, sa.ForeignKey("tenants.id")),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("events", sa.Text, nullable=False),
        sa.Column("secret", sa.LargeBinary, nullable=False),
        sa.Column("created_ns", sa.BigInteger, nullable=False),
        sa.Column("removed_ns", sa.BigInteger),
    )
    op.create_table(
        "webhook_messages",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("tenant_id", sa.Text),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("created_ns", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "webhook_deliveries",
        sa.Column("message_id", sa.Text, sa.ForeignKey("webhook_messages.id"), primary_key=True),
        sa.Column("endpoint_id", sa.Text, sa.ForeignKey("webhook_endpoints.id"), primary_key=True),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("attempts", sa.BigInteger, nullable=False),
        sa.Column("next_ns", sa.BigInteger, nullable=False),
        sa.Column("last_ns", sa.BigInteger),
        sa.Column("status", sa.BigInteger),
        sa.Column("reason", sa.Text, nullable=False),
        sa.CheckConstraint("state IN ('pending', 'delivered', 'failed')", name="delivery_state"),
    )
    op.create_table(
        "export_marks",
        sa.Column("sink", sa.Text, primary_key=True),
        sa.Column("node_id", sa.Text, primary_key=True),
        sa.Column("epoch", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("lsn", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "export_refusals",
        sa.Column("sink", sa.Text, primary_key=True),
        sa.Column("event_id", sa.Text, primary_key=True),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("at_ns", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "payment_customers",
        sa.Column("provider", sa.Text, primary_key=True),
        sa.Column("tenant_id", sa.Text, sa.ForeignKey("tenants.id"), primary_key=True),
        sa.Column("customer", sa.Text, nullable=False),
        sa.Column("linked_ns", sa.BigInteger, nullable=False),
    )
    op.create_index("invoices_by_tenant", "invoices", ["tenant_id", "period"])
    op.create_index("webhook_deliveries_due", "webhook_deliveries", ["state", "next_ns"])
    for table in APPEND_ONLY:
        only_grows(table)


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_table(table)
