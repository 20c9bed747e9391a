"""Usage as CloudEvents 1.0, in its JSON format (https://github.com/cloudevents/spec, `json-format.md`).

The id is that of the event in the ledger: who receives one twice has it once. `subject` is the tenant, as OpenMeter and
others expect of usage.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Any

import msgspec
import sqlalchemy as sa

from airserve.metering.exports import next_batch, received
from airserve.metering.outgoing import UnreachableError, post
from airserve.storage import Database, tables

TYPE = "airserve.call.v1"
BATCH = 500
BATCH_MEDIA_TYPE = "application/cloudevents-batch+json"
_DATA = (
    "project_id", "key_id", "model", "version", "price_id", "outcome", "rows", "bytes_in", "bytes_out", "compute_ns",
    "input_tokens", "cached_tokens", "output_tokens", "amount_nano", "currency",
)  # fmt: skip


def cloud_event(event: Any, source: str) -> dict[str, Any]:
    """A row of `usage_events` as a CloudEvent; `source` is a URI reference that names this installation."""
    seconds, rest = divmod(event.admitted_ns, 1_000_000_000)
    moment = dt.datetime.fromtimestamp(seconds, dt.UTC)
    return {
        "specversion": "1.0",
        "id": event.id,
        "source": source,
        "type": TYPE,
        "subject": event.tenant_id,
        "time": f"{moment:%Y-%m-%dT%H:%M:%S}.{rest:09d}Z",
        "datacontenttype": "application/json",
        "data": {name: getattr(event, name) for name in _DATA},
    }


def cloud_events(
    database: Database, source: str, *, tenant_id: str | None = None, start_ns: int = 0, end_ns: int | None = None
) -> Iterator[str]:
    """Events admitted from `start_ns` to before `end_ns` as lines of JSON, in the order of their admission."""
    events = tables.usage_events
    query = sa.select(events).where(events.c.admitted_ns >= start_ns).order_by(events.c.admitted_ns, events.c.id)
    if end_ns is not None:
        query = query.where(events.c.admitted_ns < end_ns)
    if tenant_id is not None:
        query = query.where(events.c.tenant_id == tenant_id)
    with database.read() as connection:
        for row in connection.execution_options(yield_per=1_000).execute(query):
            yield msgspec.json.encode(cloud_event(row, source)).decode()


def send_new(database: Database, url: str, source: str, headers: Mapping[str, str], *, allow_private: bool) -> int:
    """POST all that this URL was not told of, in batches; how many events it took. Blocks.

    Raises `UnreachableError` where it does not take a batch; what it took before is remembered.
    """
    sink = f"cloudevents/{sha256(url.encode()).hexdigest()}"
    count = 0
    while (batch := next_batch(database, sink, BATCH)) is not None:
        if batch.events:
            body = msgspec.json.encode([cloud_event(event, source) for event in batch.events])
            answer = post(url, body, {"content-type": BATCH_MEDIA_TYPE, **headers}, allow_private=allow_private)
            if not 200 <= answer.status < 300:
                raise UnreachableError(f"the endpoint took {count} events, then answered {answer.status}; try again")
        received(database, sink, batch)
        count += len(batch.events)
    return count
