"""Every table, as the newest migration leaves it, the same on SQLite and PostgreSQL; a file for each part of the house.

Times are int64 nanoseconds UTC, money int64 nano-units (1e-9 of a currency). Of tables that only grow,
triggers refuse every UPDATE and DELETE (`storage/migrations/append_only.py`).
"""

from airserve.storage.tables.accounts import (
    api_keys,
    budgets,
    client_authorities,
    members,
    plans,
    projects,
    subscriptions,
    tenants,
)
from airserve.storage.tables.audit_log import audit_checkpoints, audit_log
from airserve.storage.tables.installation import change_counter, installation
from airserve.storage.tables.invoices import (
    billing_details,
    export_marks,
    export_refusals,
    invoice_changes,
    invoice_lines,
    invoices,
    payment_customers,
    webhook_deliveries,
    webhook_endpoints,
    webhook_messages,
)
from airserve.storage.tables.ledger import closed_periods, ledger_accounts, ledger_balances, ledger_entries
from airserve.storage.tables.limits import budget_windows, idempotent_answers, leases, nodes, rate_states
from airserve.storage.tables.metadata import metadata
from airserve.storage.tables.models import alias_changes, aliases, models, versions
from airserve.storage.tables.rollouts import rollout_counts, rollout_decisions, rollouts
from airserve.storage.tables.usage import journal_marks, prices, unfinished_calls, usage_events

__all__ = [
    "alias_changes",
    "aliases",
    "api_keys",
    "audit_checkpoints",
    "audit_log",
    "billing_details",
    "budget_windows",
    "budgets",
    "change_counter",
    "client_authorities",
    "closed_periods",
    "export_marks",
    "export_refusals",
    "idempotent_answers",
    "installation",
    "invoice_changes",
    "invoice_lines",
    "invoices",
    "journal_marks",
    "leases",
    "ledger_accounts",
    "ledger_balances",
    "ledger_entries",
    "members",
    "metadata",
    "models",
    "nodes",
    "payment_customers",
    "plans",
    "prices",
    "projects",
    "rate_states",
    "rollout_counts",
    "rollout_decisions",
    "rollouts",
    "subscriptions",
    "tenants",
    "unfinished_calls",
    "usage_events",
    "versions",
    "webhook_deliveries",
    "webhook_endpoints",
    "webhook_messages",
]
