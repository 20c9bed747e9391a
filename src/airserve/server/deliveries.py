"""What the service tells others of, beside answering: webhooks, and usage for a payment provider. In the supervisor.

Each kind has a loop of its own, so that a provider that hangs keeps no webhook waiting.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from airserve.metering.budget_alerts import announce_budgets
from airserve.metering.payments.report import report_usage
from airserve.metering.payments.stripe import Stripe
from airserve.metering.webhooks.delivery import deliver_due
from airserve.server.installation import load_pepper
from airserve.server.repeating import repeat
from airserve.server.settings import Settings
from airserve.storage import Database

_LOOK_EVERY_S = 1.0
_LONGEST_PAUSE_S = 300.0


def start_deliveries(settings: Settings) -> list[asyncio.Task[None]]:
    """Start the loops; whoever started them cancels them."""
    loops = [_repeat(settings, "webhooks", _webhooks(settings))]
    key = settings.payments_key
    if key is not None:

        def report(database: Database) -> None:
            report_usage(database, Stripe(settings.payments_url, key.get_secret_value()), clock_ns=time.time_ns)

        loops.append(_repeat(settings, "payments", report))
    return loops


def _webhooks(settings: Settings) -> Callable[[Database], None]:
    def deliver(database: Database) -> None:
        announce_budgets(database, now_ns=time.time_ns())
        pepper = load_pepper(settings, database)
        deliver_due(database, pepper, allow_private=settings.webhooks_allow_private, clock_ns=time.time_ns)

    return deliver


def _repeat(settings: Settings, what: str, work: Callable[[Database], None]) -> asyncio.Task[None]:
    """`work` every second, and after failures with growing pauses. Nothing is lost: outbox and marks stay."""
    loop = repeat(
        settings, work, f"{what} could not be delivered", every_s=_LOOK_EVERY_S, longest_pause_s=_LONGEST_PAUSE_S
    )
    return asyncio.create_task(loop)
