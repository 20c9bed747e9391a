"""Logs of the UCC 5G dataset: CSV, one row a second, both rates in kbit/s, ping in milliseconds, `-` for not known.

Only the folder `Download` of the set shows what the link can carry; the others show what a video player asked for.
"""

from __future__ import annotations

import csv
import datetime as dt
import io

from airserve.core.errors import BadTraceError
from airserve.lab.formats.lines import number
from airserve.lab.trace import Sample, Trace, Way, checked

_NEEDED = ("Timestamp", "DL_bitrate", "UL_bitrate")


def fits(head: str) -> bool:
    """Tell whether the first lines of a file look like this format."""
    header = head.partition("\n")[0]
    return all(name in header for name in _NEEDED)


def read(text: str, way: Way) -> Trace:
    """Read rates, and ping and loss where the row has them. Raises BadTraceError with the line."""
    rows = csv.DictReader(io.StringIO(text))
    missing = [name for name in _NEEDED if name not in (rows.fieldnames or ())]
    if missing:
        raise BadTraceError(f"Line 1: the header lacks {', '.join(missing)}.")
    samples: list[tuple[int, Sample]] = []
    for row in rows:
        sample = _sample(row, rows.line_num, way)
        # The log sometimes writes twice in one second; the first counts.
        if not samples or sample.time_s > samples[-1][1].time_s:
            samples.append((rows.line_num, sample))
    return Trace(checked(samples))


def _sample(row: dict[str, str], line: int, way: Way) -> Sample:
    try:
        at = dt.datetime.strptime(row["Timestamp"] or "", "%Y.%m.%d_%H.%M.%S")
    except ValueError:
        raise BadTraceError(f"Line {line}: Timestamp must look like 2019.12.16_13.40.04.") from None
    rtt_ms, loss = _known(row, "PINGAVG", line), _known(row, "LOSS", line)
    up, down = _known(row, "UL_bitrate", line), _known(row, "DL_bitrate", line)
    half_s = None if rtt_ms is None else rtt_ms / 2e3
    share = None if loss is None else loss / 100
    return Sample(
        at.replace(tzinfo=dt.UTC).timestamp(),
        None if up is None or way == "down" else up * 1e3,
        None if down is None or way == "up" else down * 1e3,
        half_s,
        half_s,
        share,
        share,
    )


def _known(row: dict[str, str], name: str, line: int) -> float | None:
    cell = (row.get(name) or "").strip()
    return None if cell in ("", "-") else number(cell, line, name)
