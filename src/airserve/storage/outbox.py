"""The outbox of webhooks: who changes something tells it here, in the same transaction; it is delivered later.

So an event is announced if and only if what it tells of was committed. `metering/webhooks/` sends it.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import msgspec
import sqlalchemy as sa

from airserve.core.crash_points import crash_point
from airserve.storage import tables

EVENTS = (
    "invoice.issued",
    "invoice.paid",
    "invoice.void",
    "credit_note.issued",
    "budget.warning",
    "budget.exhausted",
    "key.created",
    "key.rotated",
    "key.revoked",
    "webhook.test",
)
"""Every type of event that an endpoint can ask for."""
ALL_EVENTS = "*"


def announce(
    connection: sa.Connection,
    type: str,
    data: Mapping[str, Any],
    *,
    key: str,
    now_ns: int,
    tenant_id: str | None = None,
    endpoint_id: str | None = None,
) -> str:
    """Tell the endpoints of a tenant, and the operator's, what happened; the message's id.

    `data` becomes JSON and holds no secret. `key` is what it happened to: the same type, tenant and key are announced
    once, however often this is called. None in `tenant_id` is for the operator alone; `endpoint_id` is one endpoint,
    whatever it asks for.
    """
    if type not in EVENTS:
        raise ValueError(f"'{type}' is none of the events that endpoints can ask for")
    message_id = id_of(type, tenant_id, key)
    messages = tables.webhook_messages
    if connection.scalar(sa.select(messages.c.id).where(messages.c.id == message_id)) is not None:
        return message_id
    moment = dt.datetime.fromtimestamp(now_ns // 1_000_000_000, dt.UTC)
    body = {"type": type, "timestamp": f"{moment:%Y-%m-%dT%H:%M:%SZ}", "tenant_id": tenant_id, "data": data}
    text = msgspec.json.encode(body, order="sorted").decode()
    targets = [endpoint_id] if endpoint_id else _endpoints(connection, type, tenant_id)
    connection.execute(
        sa.insert(messages).values(id=message_id, tenant_id=tenant_id, type=type, body=text, created_ns=now_ns)
    )
    crash_point("outbox.after_message")
    deliveries = [
        {
            "message_id": message_id,
            "endpoint_id": each,
            "state": "pending",
            "attempts": 0,
            "next_ns": now_ns,
            "reason": "",
        }
        for each in targets
    ]
    if deliveries:
        connection.execute(sa.insert(tables.webhook_deliveries), deliveries)
    return message_id


def id_of(type: str, tenant_id: str | None, key: str) -> str:
    """The id of the message that announces this."""
    return f"msg_{sha256(f'{type}/{tenant_id}/{key}'.encode()).hexdigest()[:32]}"


def _endpoints(connection: sa.Connection, type: str, tenant_id: str | None) -> list[str]:
    columns = tables.webhook_endpoints.c
    whose: sa.ColumnElement[bool] = columns.tenant_id.is_(None)
    if tenant_id is not None:
        whose = sa.or_(whose, columns.tenant_id == tenant_id)
    query = sa.select(columns.id, columns.events).where(whose, columns.removed_ns.is_(None)).order_by(columns.id)
    return [id_ for id_, events in connection.execute(query) if {type, ALL_EVENTS} & set(json.loads(events))]
