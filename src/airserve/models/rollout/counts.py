"""What is counted on a new version while it is rolled out, by one server in one stage."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec


class Counts(msgspec.Struct):
    """Sums: those of several servers add up.

    `calls` were answered by the new version or `failed` there (in the shadow they are copies), `old_calls` and
    `old_failed` by the old one. Of `compared` answers, `disagreed` were others than the old version's. Of `timed`
    calls, `slow` took longer than the guard allows; `old_ns` is what that was last held against, nanoseconds, 0 where
    nothing.
    """

    calls: int = 0
    failed: int = 0
    old_calls: int = 0
    old_failed: int = 0
    compared: int = 0
    disagreed: int = 0
    timed: int = 0
    slow: int = 0
    old_ns: int = 0

    def copy(self) -> Counts:
        """The same, which goes on by itself."""
        return msgspec.structs.replace(self)


def total(parts: Iterable[Counts]) -> Counts:
    """What several servers have counted together; `old_ns` is the longest."""
    whole = Counts()
    for part in parts:
        for name in whole.__struct_fields__:
            value = getattr(part, name)
            setattr(whole, name, max(whole.old_ns, value) if name == "old_ns" else getattr(whole, name) + value)
    return whole
