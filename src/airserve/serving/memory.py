"""The memory that loaded models take: who gives way to whom, and how it goes back to the system."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterable, Sequence

from airserve.serving.version import Version

# malloc.h of glibc; see mallopt(3).
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_LARGE_BYTES = 1 << 20
_KEPT_BYTES = 8 << 20


def who_gives_way(holding: Iterable[Version], needed: int, bound: int) -> Sequence[Version] | None:
    """The versions to unload so that `needed` bytes more stay within `bound`; None while too many are busy.

    Only loaded versions without a call give way, the least recently used first.
    """
    holding = list(holding)
    surplus = sum(version.weight_bytes for version in holding) + needed - bound
    idle = [
        version
        for version in holding
        if version.loading is None and version.deployment is not None and not version.deployment.busy
    ]
    leaving: list[Version] = []
    for version in sorted(idle, key=lambda version: version.used_ns):
        if surplus <= 0:
            break
        leaving.append(version)
        surplus -= version.weight_bytes
    return leaving if surplus <= 0 else None


def keep_little() -> None:
    """Have the C library return large blocks when they are freed.

    glibc learns to keep blocks of up to 32 MB, at the end of each of its arenas even out of reach of `malloc_trim`: a
    model's weights stayed in memory, once for every few threads that had loaded it.
    """
    _glibc("mallopt", _M_MMAP_THRESHOLD, _LARGE_BYTES)
    _glibc("mallopt", _M_TRIM_THRESHOLD, _KEPT_BYTES)


def give_back() -> None:
    """Have the C library return what was freed between blocks in use."""
    _glibc("malloc_trim", 0)


def _glibc(name: str, *arguments: int) -> None:
    function = getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
    if function is not None:
        function(*arguments)
