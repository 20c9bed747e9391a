"""A database as it is after some use: customers, keys, prices, models, calls that were folded and paid for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa

from airserve.accounts import create_key, create_tenant
from airserve.metering.event import Outcome, UsageEvent
from airserve.metering.journal import Journal
from airserve.metering.ledger import FoldResult, fold
from airserve.metering.prices import set_price
from airserve.storage import Database, tables

PEPPER = b"p" * 32
DAY_NS = 86_400 * 10**9


def fill(database: Database, journal_folder: Path, *, calls: int = 30) -> FoldResult:
    """Enter something into every part of the house."""
    acme = create_tenant(database, "acme", now_ns=1)
    create_key(database, PEPPER, now_ns=2, tenant="acme", models=["digits"], expires_ns=1 << 61)
    create_key(database, PEPPER, now_ns=3, tenant=None)
    set_price(database, "digits", per_call_nano=7, per_compute_second_nano=0, now_ns=4)
    with database.write() as connection:
        connection.execute(tables.models.insert().values(name="digits", created_ns=1))
        connection.execute(
            tables.versions.insert().values(
                model="digits", version=1, address="ab", engine="onnx", size_bytes=5, manifest="{}", published_ns=1
            )
        )
        connection.execute(tables.aliases.insert().values(model="digits", alias="prod", version=1, changed_ns=1))
        connection.execute(tables.alias_changes.insert().values(model="digits", alias="prod", version=1, changed_ns=1))
        connection.execute(
            tables.rollouts.insert().values(
                id="rol_1", model="digits", alias="prod", from_version=1, to_version=1, steps="[100.0]", every_ns=1,
                guards='["error<1%"]', shadow=0, state="stopped", stage=1, stage_ns=1, started_ns=1, ended_ns=2,
                reason="",
            )
        )  # fmt: skip
        connection.execute(
            tables.rollout_decisions.insert().values(
                rollout_id="rol_1", at_ns=1, action="start", actor="operator:ada", stage=1, percent=100.0, reason="",
                figures="[]",
            )
        )  # fmt: skip
        connection.execute(
            tables.rollout_counts.insert().values(rollout_id="rol_1", stage=1, node_id="n", counts='{"calls": 1}')
        )
    record(journal_folder, acme.id, calls)
    return fold(database, journal_folder)


def record(journal_folder: Path, tenant_id: str, calls: int) -> None:
    """Calls in the journal of the node `n`, not yet folded."""
    journal = Journal.open(journal_folder, "n")
    journal.append(
        [
            UsageEvent(
                f"{journal.epoch}-{number}", tenant_id, "key", "digits", 1, 1, Outcome.OK, 1, 2, 3, 4, 7, "EUR",
                20_000 * DAY_NS + number * DAY_NS,
            )
            for number in range(calls)
        ]
    )  # fmt: skip
    journal.close()


def everything(connection: sa.Connection) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all tables, as they are at whatever revision; without what tells one database from another."""
    metadata = sa.MetaData()
    metadata.reflect(connection)
    return {
        name: sorted((tuple(row) for row in connection.execute(sa.select(table))), key=repr)
        for name, table in metadata.tables.items()
        if name != "change_counter"
    }


def amounts(database: Database) -> list[tuple[Any, ...]]:
    """What each tenant used and owes: sums of the calls, and of the ledger's entries."""
    events, entries = tables.usage_events.c, tables.ledger_entries.c
    with database.read() as connection:
        used = connection.execute(
            sa.select(events.tenant_id, sa.func.count(), sa.func.sum(events.amount_nano)).group_by(events.tenant_id)
        ).all()
        owed = connection.execute(
            sa.select(entries.tenant_id, sa.func.count(), sa.func.sum(entries.amount_nano)).group_by(entries.tenant_id)
        ).all()
    return sorted((*map(tuple, used), *map(tuple, owed)))
