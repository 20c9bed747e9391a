"""CSV with a header: `time_s`, and any of `rate_mbps`, `delay_ms`, `loss`, each also with `up_` or `down_` before it.

`rtt_ms` is a round trip, of which each way gets half. A loss is a share from 0 to 1. An empty cell is not told.
"""

from __future__ import annotations

import csv
import io

from airserve.core.errors import BadTraceError
from airserve.lab.formats.lines import number
from airserve.lab.trace import Sample, Trace, Way, checked

_VALUES = {"rate_mbps": ("bps", 1e6), "delay_ms": ("delay_s", 1e-3), "loss": ("loss", 1.0)}
_COLUMNS = ("time_s", "rtt_ms", *(f"{way}{name}" for name in _VALUES for way in ("", "up_", "down_")))


def fits(head: str) -> bool:
    """Tell whether the first lines of a file look like this format."""
    return "time_s" in [cell.strip() for cell in head.partition("\n")[0].split(",")]


def read(text: str, way: Way) -> Trace:
    """Read the columns; those that name no way are of `way`. Raises BadTraceError with the line."""
    rows = csv.reader(io.StringIO(text))
    header = [cell.strip() for cell in next(rows, [])]
    unknown = [name for name in header if name not in _COLUMNS]
    if "time_s" not in header or unknown or len(set(header)) != len(header):
        problem = f"'{unknown[0]}' is none of them" if unknown else "time_s and each column must be there once"
        raise BadTraceError(f"Line 1: a header of these columns must stand here: {', '.join(_COLUMNS)}; {problem}.")
    samples = []
    try:
        for cells in rows:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                raise BadTraceError(f"Line {rows.line_num}: {len(header)} cells are due, and {len(cells)} are there.")
            samples.append((rows.line_num, _sample(header, cells, rows.line_num, way)))
    except csv.Error as error:
        raise BadTraceError(f"Line {rows.line_num}: {error}.") from error
    return Trace(checked(samples))


def _sample(header: list[str], cells: list[str], line: int, way: Way) -> Sample:
    time_s = 0.0
    told: dict[str, float] = {}
    for name, cell in zip(header, cells, strict=True):
        if name == "time_s":
            time_s = number(cell, line, name)
        elif cell.strip():
            value = number(cell, line, name)
            for target, factor in _targets(name, way):
                told[target] = value * factor
    return Sample(time_s, **told)


def _targets(name: str, way: Way) -> list[tuple[str, float]]:
    if name == "rtt_ms":
        return [("up_delay_s", 0.5e-3), ("down_delay_s", 0.5e-3)]
    ways = [side for side in ("up", "down") if name.startswith(f"{side}_")]
    plain = name.removeprefix("up_").removeprefix("down_")
    suffix, factor = _VALUES[plain]
    return [(f"{side}_{suffix}", factor) for side in ways or (["up", "down"] if way == "both" else [way])]
