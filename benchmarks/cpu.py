"""CPU seconds and memory of a process and everything below it, from /proc."""

from __future__ import annotations

import os
from pathlib import Path

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def tree_cpu_seconds(root: int) -> float:
    """User and system seconds that process `root` and its living descendants have used, all threads."""
    # Fields 14 and 15 of proc(5).
    return sum(int(fields[11]) + int(fields[12]) for fields in _tree(root)) / _TICKS_PER_SECOND


def tree_resident_bytes(root: int) -> int:
    """The memory in which process `root` and its living descendants are."""
    return sum(int(fields[21]) for fields in _tree(root)) * _PAGE_BYTES


def _tree(root: int) -> list[list[str]]:
    """The fields of /proc/PID/stat from the third on, of `root` and all below it."""
    children: dict[int, list[int]] = {}
    known: dict[int, list[str]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and (fields := _stat(entry)):
            pid = int(entry.name)
            # Field 4 is the parent; the name of the command, which may hold blanks, is cut off before it.
            children.setdefault(int(fields[1]), []).append(pid)
            known[pid] = fields
    found, waiting = [], [root]
    while waiting:
        pid = waiting.pop()
        if pid in known:
            found.append(known[pid])
        waiting += children.get(pid, [])
    return found


def _stat(process: Path) -> list[str]:
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()
    except OSError:  # it ended between the listing and the reading
        return []
