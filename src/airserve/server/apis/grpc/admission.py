"""Who may call at all, asked before any message is read: everybody for health, else whoever has a valid key.

Which models and operations the key opens is asked once the message says what it is about.
"""

from __future__ import annotations

import time

from airserve.core.errors import MissingKeyError
from airserve.protocols import headers as wire
from airserve.server.apis.grpc.arrival import arrival
from airserve.server.apis.grpc.refusals import Context, as_status
from airserve.server.guesses import Guesses
from airserve.serving.gate import Gate

_OPEN = {"ServerLive", "ServerReady"}


class Admission:
    """Stands before the inference service."""

    def __init__(self, gate: Gate, guesses: Guesses) -> None:
        self._gate = gate
        self._guesses = guesses

    async def on_start(self, ctx: Context) -> None:
        """Refuse a call without a valid key."""
        if ctx.method.name not in _OPEN:
            with as_status(ctx):
                request = arrival()
                try:
                    self._gate.known(wire.bearer_key(request.headers), request.client, request.certificate)
                except MissingKeyError as error:
                    raise self._guesses.count(request.client, time.monotonic_ns()) or error from None

    async def on_end(self, token: None, ctx: Context, error: Exception | None) -> None:
        """Nothing was begun that would have to end."""
