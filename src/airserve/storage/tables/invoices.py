"""Invoices and credit notes, who they go to, webhooks, and how far usage was exported."""

from __future__ import annotations

import sqlalchemy as sa

from airserve.storage.tables.metadata import metadata

billing_details = sa.Table(
    "billing_details",
    metadata,
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

# Only grows, as do its lines and the changes of its state: what was issued is what anybody reads later.
invoices = sa.Table(
    "invoices",
    metadata,
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
        "(kind = 'invoice' AND credits IS NULL) OR (kind = 'credit_note' AND credits IS NOT NULL)", name="invoice_kind"
    ),
    sa.Index("invoices_by_tenant", "tenant_id", "period"),
)

invoice_lines = sa.Table(
    "invoice_lines",
    metadata,
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

invoice_changes = sa.Table(
    "invoice_changes",
    metadata,
    sa.Column("invoice_id", sa.Text, sa.ForeignKey("invoices.id"), primary_key=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("at_ns", sa.BigInteger, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.CheckConstraint("state IN ('paid', 'void')", name="invoice_state"),
)

webhook_endpoints = sa.Table(
    "webhook_endpoints",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("tenant_id", sa.Text, sa.ForeignKey("tenants.id")),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("events", sa.Text, nullable=False),
    sa.Column("secret", sa.LargeBinary, nullable=False),
    sa.Column("created_ns", sa.BigInteger, nullable=False),
    sa.Column("removed_ns", sa.BigInteger),
)

webhook_messages = sa.Table(
    "webhook_messages",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("tenant_id", sa.Text),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("created_ns", sa.BigInteger, nullable=False),
)

webhook_deliveries = sa.Table(
    "webhook_deliveries",
    metadata,
    sa.Column("message_id", sa.Text, sa.ForeignKey("webhook_messages.id"), primary_key=True),
    sa.Column("endpoint_id", sa.Text, sa.ForeignKey("webhook_endpoints.id"), primary_key=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("attempts", sa.BigInteger, nullable=False),
    sa.Column("next_ns", sa.BigInteger, nullable=False),
    sa.Column("last_ns", sa.BigInteger),
    sa.Column("status", sa.BigInteger),
    sa.Column("reason", sa.Text, nullable=False),
    sa.CheckConstraint("state IN ('pending', 'delivered', 'failed')", name="delivery_state"),
    sa.Index("webhook_deliveries_due", "state", "next_ns"),
)

export_marks = sa.Table(
    "export_marks",
    metadata,
    sa.Column("sink", sa.Text, primary_key=True),
    sa.Column("node_id", sa.Text, primary_key=True),
    sa.Column("epoch", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("lsn", sa.BigInteger, nullable=False),
)

export_refusals = sa.Table(
    "export_refusals",
    metadata,
    sa.Column("sink", sa.Text, primary_key=True),
    sa.Column("event_id", sa.Text, primary_key=True),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("at_ns", sa.BigInteger, nullable=False),
)

payment_customers = sa.Table(
    "payment_customers",
    metadata,
    sa.Column("provider", sa.Text, primary_key=True),
    sa.Column("tenant_id", sa.Text, sa.ForeignKey("tenants.id"), primary_key=True),
    sa.Column("customer", sa.Text, nullable=False),
    sa.Column("linked_ns", sa.BigInteger, nullable=False),
)
