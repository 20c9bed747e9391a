"""Inputs that a tenant sent lately, by their digests: who has sent one need not send it again.

An input is known by the SHA-256 of its raw bytes as they came, which are kept only once they were seen to have it. A
digest opens nothing of another tenant's: who guesses, or knows, the digest of what others sent is told what everybody
is told, that it is not here.
"""

from __future__ import annotations

import asyncio
import hashlib
import time

from airserve.core.errors import InputNotHeldError, InvalidInputError
from airserve.serving.tenant_memory import TenantMemory

OFF_LOOP_FROM = 64 << 10
"""Inputs of so many bytes and more are hashed off the event loop, which that would hold up."""


class HeldInputs:
    """Raw bytes of inputs, by tenant. Thread-safe."""

    def __init__(self, max_bytes: int, max_age_ns: int) -> None:
        self._memory: TenantMemory[bytes] = TenantMemory(max_bytes, max_age_ns)

    def of(self, tenant: str) -> TenantInputs:
        """What one call of `tenant` uses."""
        return TenantInputs(self._memory, tenant)

    def forget_expired(self, now_ns: int) -> None:
        """Let go of inputs that are too old."""
        self._memory.forget_expired(now_ns)


class TenantInputs:
    """The inputs of one tenant, for one call."""

    __slots__ = ("_given", "_memory", "_tenant")

    def __init__(self, memory: TenantMemory[bytes], tenant: str) -> None:
        self._memory = memory
        self._tenant = tenant
        self._given: list[tuple[str, str, bytes | memoryview]] = []

    def held(self, digest: str, name: str) -> bytes:
        """The bytes of the input `name`. Raises `InputNotHeldError` where this tenant has not sent them lately."""
        found = self._memory.get(self._tenant, digest, time.monotonic_ns())
        if found is None:
            raise InputNotHeldError(f"the input '{name}' with the digest {digest} is not here; send its data with it")
        return found

    def keep(self, digest: str, name: str, raw: bytes | memoryview) -> None:
        """Note that the bytes came and are to be kept; `settle` does it."""
        self._given.append((digest, name, raw))

    async def settle(self) -> None:
        """Keep what came with a digest. Raises `InvalidInputError` for bytes that have another one."""
        if not self._given:
            return
        if sum(len(raw) for _, _, raw in self._given) < OFF_LOOP_FROM:
            self._keep_all()
        else:
            await asyncio.to_thread(self._keep_all)

    def _keep_all(self) -> None:
        for digest, name, raw in self._given:
            if hashlib.sha256(raw).hexdigest() != digest:
                raise InvalidInputError(f"'digest' of input '{name}' is not the SHA-256 of its raw bytes")
            now_ns = time.monotonic_ns()
            # What is there already is kept for longer, and not copied again.
            known = self._memory.get(self._tenant, digest, now_ns)
            if known is not None or len(raw) <= self._memory.largest:
                own = bytes(raw) if known is None else known
                self._memory.put(self._tenant, digest, own, len(own), now_ns)
