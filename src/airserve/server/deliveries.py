"""What the service tells others of, beside answering: webhooks, and usage for a payment provider. In the supervisor.

Each kind has a loop of its own, so that a provider that hangs keeps no webhook waiting.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import sqlalchemy as sa
import structlog

from airserve.core.errors import AirserveError
from airserve.metering.budget_alerts import announce_budgets
from airserve.metering.payments.report import report_usage
from airserve.metering.payments.stripe import Stripe
from airserve.metering.webhooks.delivery import deliver_due
from airserve.server.installation import load_pepper, open_database
from airserve.server.settings import Settings
from airserve.storage import Database

log = structlog.get_logger("airserve.server")

_LOOK_EVERY_S = 1.0
_LONGEST_PAUSE_S = 300.0


def start_deliveries(settings: Settings) -> list[asyncio.Task[None]]:
    """Start the loops; whoever started them cancels them."""
    loops = [asyncio.create_task(_repeat(settings, "webhooks", _webhooks(settings)))]
    key = settings.payments_key
    if key is not None:

        def report(database: Database) -> None:
            report_usage(database, Stripe(settings.payments_url, key.get_secret_value()), clock_ns=time.time_ns)

        loops.append(asyncio.create_task(_repeat(settings, "payments", report)))
    return loops


def _webhooks(settings: Settings) -> Callable[[Database], None]:
    def deliver(database: Database) -> None:
        announce_budgets(database, now_ns=time.time_ns())
        pepper = load_pepper(settings, database)
        deliver_due(database, pepper, allow_private=settings.webhooks_allow_private, clock_ns=time.time_ns)

    return deliver


async def _repeat(settings: Settings, what: str, work: Callable[[Database], None]) -> None:
    """`work` every second, and after failures with growing pauses. Nothing is lost: outbox and marks stay."""
    database: Database | None = None
    pause_s = _LOOK_EVERY_S
    try:
        while True:
            try:
                if database is None:
                    database = await asyncio.to_thread(open_database, settings)
                await asyncio.to_thread(work, database)
                pause_s = _LOOK_EVERY_S
            except (AirserveError, sa.exc.SQLAlchemyError, OSError) as error:
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                log.error("could not be delivered, trying again", what=what, reason=str(error), pause_s=pause_s)
            await asyncio.sleep(pause_s)
    finally:
        if database is not None:
            database.close()
