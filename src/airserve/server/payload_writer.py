"""Hands payloads to the log on a thread of its own: event loops neither write files nor wait for them."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import structlog

from airserve.accounts.payload_logging import PayloadLogging
from airserve.accounts.principal import Principal
from airserve.core.call import Call, Reply
from airserve.core.errors import AirserveError
from airserve.core.generation import Generation, Piece
from airserve.server.payload_log import PayloadLog, tensors_record

log = structlog.get_logger("airserve.server")

_CAPACITY = 1000
_SWEEP_EVERY_S = 600.0

Record = Callable[[], Mapping[str, Any]]


class PayloadWriter:
    """Takes records and writes them soon. Under more than it can write it drops the newest, and counts them."""

    def __init__(self, payloads: PayloadLog, *, capacity: int = _CAPACITY) -> None:
        self.dropped = 0
        self._payloads = payloads
        self._queue: queue.Queue[tuple[str, PayloadLogging, Record, int] | None] = queue.Queue(capacity)
        self._thread = threading.Thread(target=self._run, name="payloads", daemon=True)
        self._thread.start()

    def submit(self, project: str, setting: PayloadLogging, record: Record, now_ns: int) -> None:
        """Keep what `record` makes, on the writer's thread. Never blocks."""
        try:
            self._queue.put_nowait((project, setting, record, now_ns))
        except queue.Full:
            self.dropped += 1

    def keep_call(self, principal: Principal, call: Call, reply: Reply) -> None:
        """A call of tensors and its answer, where the project of `principal` asks for it."""
        if principal.payload_logging is not None:
            self.submit(
                principal.project_id,
                principal.payload_logging,
                lambda: (
                    _head(principal, call)
                    | {
                        "version": reply.version,
                        "inputs": tensors_record(call.inputs),
                        "outputs": tensors_record(reply.outputs),
                    }
                ),
                time.time_ns(),
            )

    def keep_generation(
        self, principal: Principal, call: Call, generation: Generation, pieces: Sequence[Piece]
    ) -> None:
        """A prompt and what was generated, as far as it came."""
        if principal.payload_logging is not None:
            self.submit(
                principal.project_id,
                principal.payload_logging,
                lambda: _head(principal, call) | {"inputs": generation.parameters, "outputs": {"text": _text(pieces)}},
                time.time_ns(),
            )

    def close(self) -> None:
        """Write what was taken, and stop."""
        self._queue.put(None)
        self._thread.join()
        self._payloads.close()

    def _run(self) -> None:
        while True:
            project = ""
            try:
                taken = self._queue.get(timeout=_SWEEP_EVERY_S)
                if taken is None:
                    return
                project, setting, record, now_ns = taken
                self._payloads.append(project, setting, record(), now_ns)
            except queue.Empty:
                with suppress(OSError, ValueError):
                    self._payloads.sweep(time.time_ns())
            except (AirserveError, OSError, ValueError) as error:
                # Calls go on without: payloads are for looking at, usage is in the journal.
                self.dropped += 1
                log.error("a payload was not kept", project=project, reason=str(error))


def _head(principal: Principal, call: Call) -> dict[str, Any]:
    return {"time_ns": time.time_ns(), "call": call.id, "model": call.model, "key": principal.key_id}


def _text(pieces: Sequence[Piece]) -> str:
    """The text of the first answer."""
    choices = [choice for piece in pieces for choice in piece.choices if choice.get("index", 0) == 0]
    return "".join(choice.get("text") or choice.get("delta", {}).get("content") or "" for choice in choices)
