"""Traces of mahimahi: a time in whole milliseconds a line, at which one packet of 1504 bytes can leave.

Source: the manual page mm-link(1). Times do not decrease, the last is more than 0, and there is no empty line.
"""

from __future__ import annotations

from airserve.core.errors import BadTraceError
from airserve.lab.trace import Trace, Way

_MAX_LINES = 20_000_000


def fits(head: str) -> bool:
    """Tell whether the first lines of a file look like this format."""
    lines = head.splitlines()[:20]
    return bool(lines) and all(line.strip().isdecimal() for line in lines)


def read(text: str, way: Way) -> Trace:
    """Read opportunities of that way (or of both). Raises BadTraceError with the line that breaks a rule."""
    times: list[int] = []
    for line, content in enumerate(text.splitlines(), start=1):
        if not content.strip().isdecimal() or not content.isascii() or len(content) > 15:
            raise BadTraceError(f"Line {line}: a time in whole milliseconds must stand here, not '{content[:40]}'.")
        time_ms = int(content)
        if times and time_ms < times[-1]:
            raise BadTraceError(f"Line {line}: times must not decrease, and {time_ms} comes after {times[-1]}.")
        times.append(time_ms)
        if line > _MAX_LINES:
            raise BadTraceError(f"The trace has more than {_MAX_LINES:,} lines; cut it into parts.")
    if not times or times[-1] == 0:
        raise BadTraceError("The trace must end with a time of more than 0 ms.")
    return Trace(up_ms=tuple(times) if way != "down" else (), down_ms=tuple(times) if way != "up" else ())


def write(times_ms: tuple[int, ...]) -> str:
    """Write opportunities as a trace; the other way round than `read`."""
    return "".join(f"{time_ms}\n" for time_ms in times_ms)
