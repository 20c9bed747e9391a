"""Answers of deterministic models, for who asks the same again: of one tenant, one version and one hardening.

Another tenant's answer is never given, although it would be the same: how fast an answer comes would tell what others
asked. The memory is divided fairly (`tenant_memory`), so that misses tell nothing of others either.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from hashlib import blake2b

from airserve.accounts.terms import Hardening
from airserve.codecs.tensors import to_raw
from airserve.core.call import Reply, Tensors, Timings
from airserve.core.tensor import datatype_of
from airserve.models.catalog import DeploymentSpec
from airserve.serving.kept_reply import kept, size_of
from airserve.serving.tenant_memory import TenantMemory

OFF_LOOP_FROM = 64 << 10
"""Inputs of so many bytes and more are hashed off the event loop, which that would hold up."""

NOTHING_RAN = Timings(0, 0, 0)

Asked = tuple[str, int, str, int | None, int | None, int, bytes]
"""What was asked: model, version, its package, how the answer is hardened, which variants may answer, and the digest of
the inputs."""


class ResponseCache:
    """Of one process. Thread-safe; time, in nanoseconds, is an argument."""

    def __init__(self, max_bytes: int, max_age_ns: int) -> None:
        self._memory: TenantMemory[Reply] = TenantMemory(max_bytes, max_age_ns)

    @property
    def serves(self) -> bool:
        """Whether anything is kept at all."""
        return self._memory.max_bytes > 0

    def get(self, tenant: str, asked: Asked, now_ns: int) -> Reply | None:
        """The answer that this tenant got before."""
        return self._memory.get(tenant, asked, now_ns)

    def put(self, tenant: str, asked: Asked, reply: Reply, now_ns: int) -> None:
        """Keep an answer, unless it is large."""
        if (size := size_of(reply)) <= self._memory.largest:
            self._memory.put(tenant, asked, replace(kept(reply), timings=NOTHING_RAN), size, now_ns)

    def forget_expired(self, now_ns: int) -> None:
        """Let go of answers that are too old."""
        self._memory.forget_expired(now_ns)


async def asked_of(spec: DeploymentSpec, hardening: Hardening, inputs: Tensors, size: int, allowed: int = 1) -> Asked:
    """What a call asks, that came in `size` bytes and may be answered by the `allowed` variants, a bit each."""
    # Coded inputs come small, and strings lie outside their arrays.
    if max(size, sum(array.nbytes for array in inputs.values())) < OFF_LOOP_FROM:
        digest = inputs_digest(inputs)
    else:
        digest = await asyncio.to_thread(inputs_digest, inputs)
    return spec.model, spec.version, spec.address, hardening.top_k, hardening.decimals, allowed, digest


def inputs_digest(inputs: Tensors) -> bytes:
    """BLAKE2b-256 over the name, datatype, shape and content of each input, in the order of their names.

    Each part is preceded by its length, so that no two different sets of inputs are hashed as the same bytes.
    """
    digest = blake2b(digest_size=32)
    for name, array in sorted(inputs.items()):
        # BYTES are written with the length of each element before it.
        raw = to_raw(array)
        head = f"{name}\n{datatype_of(array)}\n{array.shape}\n{len(raw)}".encode()
        digest.update(len(head).to_bytes(4, "little") + head)
        digest.update(raw)
    return digest.digest()
