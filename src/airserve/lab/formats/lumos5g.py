"""Traces of Lumos5G as the SIGCOMM'21 5G artifact holds them: `seconds<space or tab>Mbit/s`, downlink, one a second."""

from __future__ import annotations

from airserve.core.errors import BadTraceError
from airserve.lab.formats.lines import number, numbered
from airserve.lab.trace import Sample, Trace, Way, checked


def fits(head: str) -> bool:
    """Tell whether the first lines of a file look like this format."""
    rows = [line.split() for line in head.splitlines()[:20] if line.strip()]
    return bool(rows) and all(len(row) == 2 and _is_number(row[0]) and _is_number(row[1]) for row in rows)


def read(text: str, way: Way) -> Trace:
    """Read the rates of that way. Raises BadTraceError with the line."""
    samples = []
    for line, content in numbered(text):
        cells = content.split()
        if len(cells) != 2:
            raise BadTraceError(f"Line {line}: a time in seconds and a rate in Mbit/s must stand here.")
        bps = number(cells[1], line, "the rate in Mbit/s") * 1e6
        time_s = number(cells[0], line, "the time in seconds")
        sample = Sample(time_s, up_bps=bps if way != "down" else None, down_bps=bps if way != "up" else None)
        samples.append((line, sample))
    return Trace(checked(samples))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
