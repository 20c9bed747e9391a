"""Work of the supervisor that is done again and again over the database, whatever fails in between."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import sqlalchemy as sa
import structlog

from airserve.core.errors import AirserveError
from airserve.server.installation import open_database
from airserve.server.settings import Settings
from airserve.storage import Database

log = structlog.get_logger("airserve.server")


async def repeat(
    settings: Settings,
    work: Callable[[Database], object],
    failed: str,
    *,
    every_s: float,
    longest_pause_s: float | None = None,
    report: Callable[..., object] = log.error,
) -> None:
    """`work` on a thread every `every_s` seconds, until cancelled; `failed` is what `report` says of a failure.

    After failures the pauses grow to `longest_pause_s`, where that is given.
    """
    database: Database | None = None
    pause_s = every_s
    try:
        while True:
            try:
                if database is None:
                    database = await asyncio.to_thread(open_database, settings)
                await asyncio.to_thread(work, database)
                pause_s = every_s
            except (AirserveError, sa.exc.SQLAlchemyError, OSError) as error:
                pause_s = min(2 * pause_s, longest_pause_s or every_s)
                report(f"{failed}, trying again", reason=str(error), pause_s=pause_s)
            await asyncio.sleep(pause_s)
    finally:
        if database is not None:
            database.close()
