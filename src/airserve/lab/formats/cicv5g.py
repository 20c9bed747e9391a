"""Logs of CICV5G: `pub_time sub_time delay …` split by spaces; the delay is a round trip in milliseconds.

The set tells delays and no rates.
"""

from __future__ import annotations

from airserve.core.errors import BadTraceError
from airserve.lab.formats.lines import number, numbered
from airserve.lab.trace import Sample, Trace, Way, checked


def fits(head: str) -> bool:
    """Tell whether the first lines of a file look like this format."""
    return head.lstrip().startswith("pub_time")


def read(text: str, way: Way) -> Trace:
    """Read the round trips, half of each for each way. Raises BadTraceError with the line."""
    samples: list[tuple[int, Sample]] = []
    for line, content in numbered(text):
        cells = content.split()
        if line == 1 and cells[0].startswith("pub_time"):
            continue
        if len(cells) < 3:
            raise BadTraceError(f"Line {line}: pub_time, sub_time and delay must stand here.")
        sent_s = number(cells[0], line, "pub_time") / 1e3
        half_s = number(cells[2], line, "the delay") / 2e3
        # Runs were joined and messages overtook each other: what goes back in time is left out.
        if not samples or sent_s > samples[-1][1].time_s:
            samples.append((line, Sample(sent_s, up_delay_s=half_s, down_delay_s=half_s)))
    return Trace(checked(samples))
