"""Every table, as the newest migration leaves it, the same on SQLite and PostgreSQL; a file for each part of the house.

Times are int64 nanoseconds UTC, money int64 nano-units (1e-9 of a currency). Of tables that only grow,
triggers refuse every UPDATE and DELETE (`storage/migrations/append_only.py`).
"""

from airserve.storage.tables.accounts import api_keys, tenants
from airserve.storage.tables.metadata import metadata
from airserve.storage.tables.models import alias_changes, aliases, models, versions
from airserve.storage.tables.usage import journal_marks, prices, usage_events

__all__ = [
    "alias_changes",
    "aliases",
    "api_keys",
    "journal_marks",
    "metadata",
    "models",
    "prices",
    "tenants",
    "usage_events",
    "versions",
]
