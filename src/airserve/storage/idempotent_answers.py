"""Answers by the client's own key: claimed before a call runs, kept for a day, given again to whoever asks again.

A claim is a row in state `open`, of one start (epoch) of one node. It becomes `done` with its answer, `large` where the
answer is too large to keep (it is computed again, under the same id, and so costs nothing), or goes where the call
failed. A claim whose node has died may be taken over by the next attempt.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from airserve.core.errors import KeyInUseError, KeyReusedError
from airserve.storage import tables
from airserve.storage.database import Database

KEPT_NS = 24 * 3600 * 1_000_000_000
MAX_ANSWER_BYTES = 1 << 20
MAX_SCOPE_BYTES = 64 << 20
"""All answers of one scope together; what comes when it is reached counts as too large."""
_RETRY_AFTER_S = 1.0

_answers = tables.idempotent_answers
_encoder, _decoder = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(list[tuple[bytes, bytes]])


class Answer(NamedTuple):
    """What was answered."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class Claim(NamedTuple):
    """Whose key it is (`scope`), the key, and what makes two requests the same (`fingerprint`)."""

    scope: str
    key: str
    fingerprint: bytes


class Owner(NamedTuple):
    """One start of a node."""

    node_id: str
    epoch: int


def claim(
    db: Database, wanted: Claim, owner: Owner, now_ns: int, *, still_runs: Callable[[Claim], bool], alive_ns: int
) -> Answer | None:
    """The answer that was given before; or None: the caller runs the call now, and then says `keep` or `free`.

    `still_runs` tells whether this node works on a claim of its own; another node is alive that was heard of in the
    last `alive_ns`. Raises `KeyReusedError` where the key came with another request, and `KeyInUseError` while the
    first still runs.
    """
    with db.write(announce=False) as connection:
        dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
        row = connection.execute(sa.select(_answers).where(*_is(wanted))).one_or_none()
        if row is not None and row.expires_ns > now_ns:
            if row.fingerprint != wanted.fingerprint:
                raise KeyReusedError(
                    f"the Idempotency-Key '{wanted.key[:64]}' came before with another request; use a new key for it"
                )
            if row.state == "done":
                return Answer(row.status, _decoder.decode(row.headers), row.body)
            theirs = Owner(row.node_id, row.epoch)
            if row.state == "open" and _runs(connection, wanted, theirs, owner, now_ns - alive_ns, still_runs):
                raise KeyInUseError(
                    "a call with this Idempotency-Key still runs; ask again when it is done", retry_after=_RETRY_AFTER_S
                )
        values = {
            "fingerprint": wanted.fingerprint, "state": "open", **owner._asdict(), "status": None, "headers": None,
            "body": None, "size_bytes": 0, "expires_ns": now_ns + KEPT_NS,
        }  # fmt: skip
        insert = dialect.insert(_answers).values(scope=wanted.scope, key=wanted.key, **values)
        connection.execute(insert.on_conflict_do_update(index_elements=["scope", "key"], set_=values))
    return None


def _runs(
    connection: sa.Connection,
    wanted: Claim,
    theirs: Owner,
    ours: Owner,
    heard_since_ns: int,
    still_runs: Callable[[Claim], bool],
) -> bool:
    if theirs.node_id == ours.node_id:
        return theirs.epoch == ours.epoch and still_runs(wanted)
    nodes = tables.nodes.c
    query = sa.select(nodes.epoch, nodes.heartbeat_ns).where(nodes.node_id == theirs.node_id)
    node = connection.execute(query).one_or_none()
    return node is not None and node.epoch == theirs.epoch and node.heartbeat_ns > heard_since_ns


def keep(db: Database, claimed: Claim, answer: Answer | None) -> None:
    """Keep the answer to a claimed call; None where it is too large."""
    with db.write(announce=False) as connection:
        if answer is not None:
            total = sa.select(sa.func.coalesce(sa.func.sum(_answers.c.size_bytes), 0)).where(
                _answers.c.scope == claimed.scope
            )
            if len(answer.body) + int(connection.scalar(total) or 0) > MAX_SCOPE_BYTES:
                answer = None
        values: dict[str, object] = {"state": "large"}
        if answer is not None:
            headers = _encoder.encode(answer.headers)
            values = {
                "state": "done", "status": answer.status, "headers": headers, "body": answer.body,
                "size_bytes": len(answer.body) + len(headers),
            }  # fmt: skip
        connection.execute(sa.update(_answers).where(*_is(claimed)).values(**values))


def free(db: Database, claimed: Claim) -> None:
    """The call failed, or was refused: the next attempt is the first again."""
    with db.write(announce=False) as connection:
        connection.execute(sa.delete(_answers).where(*_is(claimed), _answers.c.state != "done"))


def forget_expired(db: Database, now_ns: int) -> int:
    """Drop what was kept for a day; how many answers that were."""
    with db.write(announce=False) as connection:
        return int(connection.execute(sa.delete(_answers).where(_answers.c.expires_ns <= now_ns)).rowcount)


def _is(wanted: Claim) -> tuple[sa.ColumnElement[bool], ...]:
    return _answers.c.scope == wanted.scope, _answers.c.key == wanted.key
