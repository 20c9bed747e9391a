"""Delivery: what waits in the outbox is sent, and sent again with growing pauses, until it was received or given up.

At least once: who receives a message tells repetitions by its `webhook-id`, which never changes. Several processes may
deliver at once: each claims what it sends, for longer than sending can take.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from airserve.core.errors import AirserveError
from airserve.metering.outgoing import TIMEOUT_S, post
from airserve.metering.webhooks.signature import open_secret, signature_headers
from airserve.storage import Database, tables

SECOND_NS = 1_000_000_000
MAX_ATTEMPTS = 12
FIRST_PAUSE_S, LONGEST_PAUSE_S = 5, 12 * 3600
"""Pauses grow fourfold: 5 s, 20 s, 80 s … 12 h; a message is given up after about three days."""
AT_ONCE = 16
_CLAIM_NS = int(3 * TIMEOUT_S) * SECOND_NS
_GONE = 410


@dataclass(frozen=True, slots=True)
class _Due:
    message_id: str
    endpoint_id: str
    attempts: int
    body: str
    url: str
    secret: bytes


@dataclass(frozen=True, slots=True)
class _Outcome:
    status: int | None
    reason: str


def deliver_due(
    database: Database,
    pepper: bytes,
    *,
    allow_private: bool,
    clock_ns: Callable[[], int],
    jitter: Callable[[], float] = random.random,
    timeout_s: float = TIMEOUT_S,
) -> int:
    """Send what is due, at most `AT_ONCE` messages at the same time; how many were received. Blocks.

    `jitter` gives 0 to 1, and makes a pause up to a fifth longer, so that what failed together is not sent together.
    """
    due = _claim(database, clock_ns())
    if not due:
        return 0

    def send(each: _Due) -> _Outcome:
        return _send(each, pepper, allow_private, clock_ns() // SECOND_NS, timeout_s)

    with ThreadPoolExecutor(AT_ONCE, "webhook") as threads:
        outcomes = list(threads.map(send, due))
    with database.write(announce=False, lock="webhooks") as connection:
        for each, outcome in zip(due, outcomes, strict=True):
            _note(connection, each, outcome, clock_ns(), jitter())
    return sum(_received(outcome) for outcome in outcomes)


def pause_ns(attempts: int, jitter: float) -> int:
    """How long to wait after so many attempts that failed."""
    pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 4 ** (attempts - 1))
    return int(pause_s * (1 + jitter / 5) * SECOND_NS)


def _claim(database: Database, now_ns: int) -> list[_Due]:
    deliveries, messages, endpoints = tables.webhook_deliveries, tables.webhook_messages, tables.webhook_endpoints
    waiting = sa.and_(deliveries.c.state == "pending", deliveries.c.next_ns <= now_ns)
    with database.read() as connection:
        if connection.scalar(sa.select(deliveries.c.message_id).where(waiting).limit(1)) is None:
            return []
    query = (
        sa.select(
            messages.c.id, endpoints.c.id, deliveries.c.attempts, messages.c.body, endpoints.c.url, endpoints.c.secret
        )
        .join_from(deliveries, messages, messages.c.id == deliveries.c.message_id)
        .join(endpoints, endpoints.c.id == deliveries.c.endpoint_id)
        .where(waiting)
        .order_by(deliveries.c.next_ns, messages.c.id)
        .limit(AT_ONCE)
    )
    with database.write(announce=False, lock="webhooks") as connection:
        due = [_Due(*tuple(row)) for row in connection.execute(query)]
        for each in due:
            connection.execute(sa.update(deliveries).where(*_is(each)).values(next_ns=now_ns + _CLAIM_NS))
    return due


def _send(due: _Due, pepper: bytes, allow_private: bool, now_s: int, timeout_s: float) -> _Outcome:
    body = due.body.encode()
    try:
        headers = signature_headers(open_secret(due.secret, pepper, due.endpoint_id), due.message_id, now_s, body)
        headers |= {"content-type": "application/json", "user-agent": "airserve-webhooks"}
        answer = post(due.url, body, headers, allow_private=allow_private, timeout_s=timeout_s)
    except AirserveError as error:
        return _Outcome(None, error.message[:300])
    return _Outcome(answer.status, "" if 200 <= answer.status < 300 else f"the endpoint answered {answer.status}")


def _received(outcome: _Outcome) -> bool:
    return outcome.status is not None and 200 <= outcome.status < 300


def _note(connection: sa.Connection, due: _Due, outcome: _Outcome, now_ns: int, jitter: float) -> None:
    attempts = due.attempts + 1
    values: dict[str, Any] = {
        "attempts": attempts, "last_ns": now_ns, "status": outcome.status, "reason": outcome.reason
    }  # fmt: skip
    if _received(outcome):
        values["state"] = "delivered"
    elif attempts >= MAX_ATTEMPTS or outcome.status == _GONE:
        # 410 is how a receiver says that it wants no more of this (Standard Webhooks).
        values["state"] = "failed"
    else:
        values["next_ns"] = now_ns + pause_ns(attempts, jitter)
    # An endpoint that was removed meanwhile has failed already.
    still = tables.webhook_deliveries.c.state == "pending"
    connection.execute(sa.update(tables.webhook_deliveries).where(*_is(due), still).values(values))


def _is(due: _Due) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    columns = tables.webhook_deliveries.c
    return columns.message_id == due.message_id, columns.endpoint_id == due.endpoint_id
