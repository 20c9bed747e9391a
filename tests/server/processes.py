"""What the processes of a service take of the machine."""

from __future__ import annotations

from pathlib import Path


def family_of(pid: int) -> list[int]:
    """`pid` and all that descend from it."""
    children = [
        int(child) for task in Path(f"/proc/{pid}/task").glob("*/children") for child in task.read_text().split()
    ]
    return [pid, *(each for child in children for each in family_of(child))]


def resident_bytes(pid: int) -> int:
    """The memory of `pid` and all that descend from it."""
    total = 0
    for each in family_of(pid):
        try:
            total += int(Path(f"/proc/{each}/statm").read_text().split()[1]) * 4096
        except FileNotFoundError:
            continue
    return total
