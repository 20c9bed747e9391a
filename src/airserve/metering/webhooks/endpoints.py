"""Endpoints: the URLs that are told of events, each with a secret of its own."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from airserve.core.errors import ConflictError, InvalidInputError, NotFoundError
from airserve.metering.outgoing import check_url
from airserve.metering.webhooks.signature import new_secret, seal_secret
from airserve.storage import Database, tables
from airserve.storage.audit_log import record
from airserve.storage.outbox import ALL_EVENTS, EVENTS, announce

MAX_ENDPOINTS = 20
"""Of one tenant, or of the operator: each event costs as many calls."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What may be shown of an endpoint. `tenant_id` None is the operator, who is told of all tenants."""

    id: str
    tenant_id: str | None
    url: str
    events: tuple[str, ...]
    created_ns: int


@dataclass(frozen=True, slots=True)
class Delivery:
    """How far a message has come to an endpoint; `state` is pending, delivered or failed."""

    message_id: str
    type: str
    endpoint_id: str
    url: str
    state: str
    attempts: int
    next_ns: int
    last_ns: int | None
    status: int | None
    reason: str


def add_endpoint(
    database: Database,
    pepper: bytes,
    url: str,
    *,
    tenant_id: str | None,
    events: Sequence[str] = (ALL_EVENTS,),
    allow_private: bool,
    now_ns: int,
    actor: str | None = None,
) -> tuple[Endpoint, str]:
    """A new endpoint, and its secret, which is shown this once. Raises `InvalidInputError` for a URL we do not call."""
    check_url(url, allow_private=allow_private)
    unknown = [event for event in events if event not in (ALL_EVENTS, *EVENTS)]
    if unknown or not events:
        raise InvalidInputError(f"an endpoint asks for some of {', '.join(EVENTS)}, or '*'; not {unknown or 'nothing'}")
    endpoint = Endpoint(f"whe_{secrets.token_hex(10)}", tenant_id, url, tuple(sorted(set(events))), now_ns)
    secret = new_secret()
    with database.write(announce=False) as connection:
        if len(_endpoints(connection, _whose(tenant_id))) >= MAX_ENDPOINTS:
            raise ConflictError(f"there are {MAX_ENDPOINTS} endpoints already; remove one first")
        connection.execute(
            sa.insert(tables.webhook_endpoints).values(
                id=endpoint.id,
                tenant_id=tenant_id,
                url=url,
                events=json.dumps(endpoint.events),
                secret=seal_secret(secret, pepper, endpoint.id),
                created_ns=now_ns,
            )
        )
        _record(connection, "webhook.add", endpoint, now_ns, actor)
    return endpoint, secret


def list_endpoints(database: Database, tenant_id: str | None = None) -> list[Endpoint]:
    """All endpoints, or those of one tenant, oldest first."""
    with database.read() as connection:
        return _endpoints(connection, sa.true() if tenant_id is None else _whose(tenant_id))


def remove_endpoint(
    database: Database, endpoint_id: str, *, now_ns: int, tenant_id: str | None = None, actor: str | None = None
) -> Endpoint:
    """Tell this endpoint nothing more; what still waits for it is given up.

    `tenant_id` is whose it must be, None anybody's. Raises `NotFoundError`.
    """
    with database.write(announce=False) as connection:
        endpoint = find_endpoint(connection, endpoint_id, tenant_id)
        columns, waiting = tables.webhook_endpoints.c, tables.webhook_deliveries.c
        connection.execute(
            sa.update(tables.webhook_endpoints).where(columns.id == endpoint_id).values(removed_ns=now_ns)
        )
        connection.execute(
            sa.update(tables.webhook_deliveries)
            .where(waiting.endpoint_id == endpoint_id, waiting.state == "pending")
            .values(state="failed", reason="the endpoint was removed")
        )
        _record(connection, "webhook.remove", endpoint, now_ns, actor)
    return endpoint


def send_test(database: Database, endpoint_id: str, *, now_ns: int) -> str:
    """Let an endpoint be told that it works; the message's id."""
    with database.write(announce=False) as connection:
        endpoint = find_endpoint(connection, endpoint_id)
        data = {"endpoint": endpoint.id}
        return announce(
            connection, "webhook.test", data, key=f"{endpoint.id}/{now_ns}", now_ns=now_ns,
            tenant_id=endpoint.tenant_id, endpoint_id=endpoint.id,
        )  # fmt: skip


def list_deliveries(
    database: Database, *, tenant_id: str | None = None, state: str | None = None, limit: int = 50
) -> list[Delivery]:
    """The newest deliveries, newest first."""
    deliveries, messages, endpoints = tables.webhook_deliveries, tables.webhook_messages, tables.webhook_endpoints
    query = (
        sa.select(
            messages.c.id, messages.c.type, endpoints.c.id, endpoints.c.url, deliveries.c.state, deliveries.c.attempts,
            deliveries.c.next_ns, deliveries.c.last_ns, deliveries.c.status, deliveries.c.reason,
        )
        .join_from(deliveries, messages, messages.c.id == deliveries.c.message_id)
        .join(endpoints, endpoints.c.id == deliveries.c.endpoint_id)
        .order_by(messages.c.created_ns.desc(), messages.c.id, endpoints.c.id)
        .limit(limit)
    )  # fmt: skip
    if tenant_id is not None:
        query = query.where(endpoints.c.tenant_id == tenant_id)
    if state is not None:
        query = query.where(deliveries.c.state == state)
    with database.read() as connection:
        return [Delivery(*tuple(row)) for row in connection.execute(query)]


def retry(database: Database, message_id: str, *, now_ns: int) -> int:
    """Deliver a message again, at once, wherever it failed or waits; to how many endpoints."""
    deliveries, endpoints = tables.webhook_deliveries.c, tables.webhook_endpoints.c
    there = sa.select(endpoints.id).where(endpoints.removed_ns.is_(None))
    with database.write(announce=False) as connection:
        changed = connection.execute(
            sa.update(tables.webhook_deliveries)
            .where(
                deliveries.message_id == message_id, deliveries.state != "delivered", deliveries.endpoint_id.in_(there)
            )
            .values(state="pending", attempts=0, next_ns=now_ns, reason="")
        ).rowcount
    if not changed:
        raise NotFoundError(f"no message '{message_id[:60]}' waits or has failed; see airserve webhooks deliveries")
    return int(changed)


def find_endpoint(connection: sa.Connection, endpoint_id: str, tenant_id: str | None = None) -> Endpoint:
    """The endpoint with this id, of anybody or of one tenant. Raises `NotFoundError`."""
    found = _endpoints(connection, tables.webhook_endpoints.c.id == endpoint_id)
    if not found or tenant_id not in (None, found[0].tenant_id):
        raise NotFoundError(f"no webhook '{endpoint_id[:60]}'; see airserve webhooks list")
    return found[0]


def _whose(tenant_id: str | None) -> sa.ColumnElement[bool]:
    column = tables.webhook_endpoints.c.tenant_id
    return column.is_(None) if tenant_id is None else column == tenant_id


def _endpoints(connection: sa.Connection, wanted: sa.ColumnElement[bool]) -> list[Endpoint]:
    columns = tables.webhook_endpoints.c
    query = (
        sa.select(columns.id, columns.tenant_id, columns.url, columns.events, columns.created_ns)
        .where(wanted, columns.removed_ns.is_(None))
        .order_by(columns.created_ns, columns.id)
    )
    return [
        Endpoint(row.id, row.tenant_id, row.url, tuple(json.loads(row.events)), row.created_ns)
        for row in connection.execute(query)
    ]


def _record(connection: sa.Connection, action: str, endpoint: Endpoint, now_ns: int, actor: str | None) -> None:
    shown: dict[str, Any] = {"url": endpoint.url, "events": endpoint.events}
    record(
        connection, actor=actor, action=action, object_id=endpoint.id, after=shown, now_ns=now_ns,
        tenant_id=endpoint.tenant_id,
    )  # fmt: skip
