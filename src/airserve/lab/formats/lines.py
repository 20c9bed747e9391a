"""Lines of a text file with their numbers, and numbers in them."""

from __future__ import annotations

import math
from collections.abc import Iterator

from airserve.core.errors import BadTraceError


def numbered(text: str) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, stripped line) of what is not empty."""
    for line, content in enumerate(text.splitlines(), start=1):
        if content.strip():
            yield line, content.strip()


def number(value: str, line: int, what: str) -> float:
    """Read a finite number; raises BadTraceError that names the line and what it was to be."""
    try:
        read = float(value)
    except ValueError:
        read = math.nan
    if not math.isfinite(read):
        raise BadTraceError(f"Line {line}: {what} must be a number, and '{value[:40]}' is none.")
    return read
