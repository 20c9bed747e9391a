"""`Idempotency-Key`: the same request with the same key is answered again from memory, and billed once.

Source: draft-ietf-httpapi-idempotency-key-header-07. It stands before every API, so none of them knows of it. A call
under a key runs to its end although its client goes: a client whose link broke asks again and finds the answer.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import replace
from typing import Any, TypeVar

import sqlalchemy as sa
import structlog

from airserve.accounts import Principal
from airserve.core.crash_points import crash_point
from airserve.core.errors import AirserveError
from airserve.metering.nodes import ALIVE_NS
from airserve.protocols import headers as wire
from airserve.protocols.encoded import Encoded, Stream
from airserve.server.http import Request
from airserve.storage import Database
from airserve.storage.idempotent_answers import (
    MAX_ANSWER_BYTES,
    Answer,
    Claim,
    Owner,
    claim,
    forget_expired,
    free,
    keep,
)

log = structlog.get_logger("airserve.server")

REPLAYED = (b"idempotent-replayed", b"true")
_THREADS = 4
_UNREAD = 64
_STALLED_S = 60.0
# What a request got once it would get again: good answers, and bad requests.
_KEPT_REFUSALS = (400, 415)
_FAILED_EVENT = b'data: {"error"'
T = TypeVar("T")
Handle = Callable[[Request], Awaitable[Encoded]]


class Idempotency:
    """Of one process. Methods are called on event loops; the database is asked on threads of its own."""

    def __init__(self, database: Database, node_id: str, epoch: int, max_body_bytes: int) -> None:
        self._database = database
        self._owner = Owner(node_id, epoch)
        self._max_body_bytes = max_body_bytes
        self._threads = ThreadPoolExecutor(_THREADS, "idempotency")
        self._running: set[tuple[str, str]] = set()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def answer(self, request: Request, principal: Principal, handle: Handle) -> Encoded:
        """The answer to `request`, which brings a key: the one that was given before, or what `handle` gives now.

        `handle` renders refusals itself.
        """
        key = wire.idempotency_key(request.headers) or ""
        body = await request.read(self._max_body_bytes)

        async def given(limit: int) -> bytes | memoryview:
            return body

        async def once() -> Encoded:
            claimed, before = await self.begin(principal, key, request.method, request.path, body)
            if before is not None:
                return Encoded(before.status, [*before.headers, REPLAYED], [before.body])
            return await self._run(claimed, handle(replace(request, read=given)))

        return await self.unstoppable(once())

    async def unstoppable(self, work: Coroutine[Any, Any, T]) -> T:
        """What `work` gives. It goes on when its caller is cancelled: that is what the key is for."""
        return await asyncio.shield(self._keep_task(work))

    async def begin(
        self, principal: Principal, key: str, method: str, path: str, body: bytes | memoryview
    ) -> tuple[Claim, Answer | None]:
        """Claim a key for a request; the answer that was given before, if there is one.

        Raises `KeyReusedError` and `KeyInUseError`. Keys of one tenant know nothing of each other's answers.
        """
        scope = f"{principal.tenant_id or ''}/{principal.key_id}"

        def look() -> tuple[Claim, Answer | None]:
            digest = hashlib.sha256(f"{method} {path}\n".encode())
            digest.update(body)
            wanted = Claim(scope, key, digest.digest())
            crash_point("idempotency.before_claim")
            before = claim(
                self._database, wanted, self._owner, time.time_ns(), still_runs=self._runs, alive_ns=ALIVE_NS
            )
            crash_point("idempotency.after_claim")
            if before is None:
                self._running.add((scope, key))
            return wanted, before

        return await self._off_loop(look)

    async def finish(self, claimed: Claim, answer: Answer | None, *, large: bool = False) -> None:
        """Keep the answer, or note that it is too large; None frees the key."""

        def store() -> None:
            crash_point("idempotency.before_store")
            try:
                if answer is None and not large:
                    free(self._database, claimed)
                else:
                    fits = answer is not None and len(answer.body) <= MAX_ANSWER_BYTES
                    keep(self._database, claimed, answer if fits else None)
                    crash_point("idempotency.after_store")
            except (AirserveError, sa.exc.SQLAlchemyError) as error:
                # The call was answered and counted under an id made of the key: a retry runs, and costs nothing.
                log.warning("an answer could not be kept under its Idempotency-Key", reason=str(error))
            finally:
                self._running.discard((claimed.scope, claimed.key))

        await self._off_loop(store)

    def tidy(self) -> None:
        """Forget what has expired."""
        forget_expired(self._database, time.time_ns())

    def close(self) -> None:
        """Let what is being stored be stored."""
        self._threads.shutdown()

    def _runs(self, claimed: Claim) -> bool:
        return (claimed.scope, claimed.key) in self._running

    async def _run(self, claimed: Claim, handled: Awaitable[Encoded]) -> Encoded:
        try:
            encoded = await handled
        except BaseException:
            await self.finish(claimed, None)
            raise
        if encoded.stream is not None:
            recording = _Recording(encoded)
            self._keep_task(self._record(claimed, recording))
            return replace(encoded, stream=recording.read())
        if encoded.status < 300 or encoded.status in _KEPT_REFUSALS:
            body = b"".join(map(bytes, encoded.chunks))
            await self.finish(claimed, Answer(encoded.status, encoded.headers, body))
        else:
            await self.finish(claimed, None)
        return encoded

    async def _record(self, claimed: Claim, recording: _Recording) -> None:
        answer: Answer | None = None
        try:
            answer = await recording.run()
        finally:
            await self.finish(claimed, answer, large=recording.large)
            recording.end()

    def _keep_task(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        # An event loop alone would let it be collected.
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _off_loop(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


class _Recording:
    """A stream that is kept while it is sent, and goes on when its reader has gone."""

    def __init__(self, encoded: Encoded) -> None:
        self.large = False
        self._encoded = encoded
        self._pieces: list[bytes] = []
        self._size = 0
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._read_on = True

    async def run(self) -> Answer | None:
        """Read the stream to its end; the whole answer, None where it failed or is too large."""
        stream = self._encoded.stream
        assert stream is not None  # noqa: S101
        failed = False
        async with aclosing(stream) as pieces:
            async for piece in pieces:
                failed = failed or piece.startswith(_FAILED_EVENT)
                self._remember(piece)
                if self.large:
                    await self._wait_for_reader()
                if self._read_on:
                    self._queue.put_nowait(piece)
                elif self.large:
                    # Nobody reads it, and nobody could read it later.
                    return None
        if failed or self.large:
            return None
        return Answer(self._encoded.status, self._encoded.headers, b"".join(self._pieces))

    async def _wait_for_reader(self) -> None:
        """What is not kept is held back from a slow reader; one that reads nothing for long has gone."""
        give_up = time.monotonic() + _STALLED_S
        while self._read_on and self._queue.qsize() >= _UNREAD:
            if time.monotonic() > give_up:
                self._read_on = False
            await asyncio.sleep(0.02)

    def _remember(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > MAX_ANSWER_BYTES:
            self.large = True
            self._pieces.clear()
        else:
            self._pieces.append(piece)

    def end(self) -> None:
        """The reader has all."""
        self._queue.put_nowait(None)

    async def read(self) -> Stream:
        """What the client gets. Closing it early does not stop the recording."""
        try:
            while (piece := await self._queue.get()) is not None:
                yield piece
        finally:
            self._read_on = False
