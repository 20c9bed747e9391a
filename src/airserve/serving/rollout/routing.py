"""Which tenants the new version of a rollout answers: always the same ones, and more as its share grows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b

from airserve.serving.version import Version


@dataclass(frozen=True, slots=True)
class Detour:
    """`percent` of the tenants go to `version`, 0 to 100; which ones, `rollout_id` decides.

    Nobody goes there while `unchecked` says that it answers faster than its answers are looked at.
    """

    rollout_id: str
    percent: float
    version: Version
    unchecked: Callable[[], bool] | None = None

    def takes(self, tenant_id: str) -> bool:
        """Whether calls of this tenant go there; never while it could not answer at once."""
        if place_of(self.rollout_id, tenant_id) >= self.percent or self.version.deployment is None:
            return False
        return self.unchecked is None or not self.unchecked()


def place_of(rollout_id: str, tenant_id: str) -> float:
    """Where a tenant stands in line, 0 to 100: evenly spread, and anew for each rollout, so that no tenant is always
    the first to meet what is new."""
    digest = blake2b(tenant_id.encode(), key=rollout_id.encode()[:64], digest_size=8).digest()
    return int.from_bytes(digest, "little") * 100 / 2**64
