"""The frames of streams that later ones may be the difference to, for a while: what a stream of frames needs here.

A stream has no other state in the service: it begins with its first frame, on any connection, and ends when nothing of
it is left. A frame that is the difference to one that is not here is refused, and its sender sends a key frame.
"""

from __future__ import annotations

import time

from airserve.codecs.frame import Reference
from airserve.codecs.stream import WINDOW
from airserve.serving.tenant_memory import TenantMemory

_Slot = tuple[str, str, int]


class FrameReferences:
    """References by tenant, stream, input and key. Thread-safe.

    Of each input of a stream the last `WINDOW` frames are kept at most; a tenant that has many streams pushes out its
    own oldest ones first.
    """

    def __init__(self, max_bytes: int, max_age_ns: int) -> None:
        self._memory: TenantMemory[Reference] = TenantMemory(max_bytes, max_age_ns)

    def of(self, tenant: str, stream: str) -> StreamReferences:
        """What one call of `tenant` in its `stream` uses."""
        return StreamReferences(self._memory, tenant, stream)

    def forget_expired(self, now_ns: int) -> None:
        """Let go of frames that are too old: so a stream that is silent ends."""
        self._memory.forget_expired(now_ns)


class StreamReferences:
    """The references of one stream of one tenant, for one call."""

    __slots__ = ("_memory", "_stream", "_tenant")

    def __init__(self, memory: TenantMemory[Reference], tenant: str, stream: str) -> None:
        self._memory, self._tenant, self._stream = memory, tenant, stream

    def get(self, name: str, key: int) -> Reference | None:
        """The frame `key` of the input `name`; None where it is not here (any more)."""
        found = self._memory.get(self._tenant, self._slot(name, key), time.monotonic_ns())
        return found if found is not None and found.key == key else None

    def put(self, name: str, reference: Reference) -> None:
        """Keep a frame of the input `name`, in the place of one that is `WINDOW` frames older."""
        size = reference.symbols.rows.nbytes + len(reference.symbols.parameters)
        self._memory.put(self._tenant, self._slot(name, reference.key), reference, size, time.monotonic_ns())

    def _slot(self, name: str, key: int) -> _Slot:
        return self._stream, name, key % WINDOW
