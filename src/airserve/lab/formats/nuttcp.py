"""Interval reports of nuttcp: `[time]  1.6875 MB /   0.50 sec =   28.3104 Mbps     1 retrans …`.

The time in brackets may be missing. Other lines (header, summary) are passed over. A rate is TCP goodput of one flow:
a lower bound of what the link can carry.
"""

from __future__ import annotations

import re

from airserve.core.errors import BadTraceError
from airserve.lab.trace import Sample, Trace, Way, checked

_REPORT = re.compile(r"^(?:\[[^\]]{1,40}\])?\s*([\d.]+)\s+[KMG]?B\s*/\s*([\d.]+)\s*sec\s*=\s*([\d.]+)\s+Mbps")


def fits(head: str) -> bool:
    """Tell whether the first lines of a file look like this format."""
    return any(_REPORT.match(line) for line in head.splitlines())


def read(text: str, way: Way) -> Trace:
    """Read the rates of that way; each report lasts as long as it says. Raises BadTraceError with the line."""
    samples: list[tuple[int, Sample]] = []
    now, longest = 0.0, 0.0
    for line, content in enumerate(text.splitlines(), start=1):
        found = _REPORT.match(content)
        if found is None:
            continue
        try:
            lasted, bps = float(found[2]), float(found[3]) * 1e6
        except ValueError:
            raise BadTraceError(f"Line {line}: '{content[:60]}' holds no number of seconds or Mbps.") from None
        if longest and lasted > 3 * longest:
            break  # The summary at the end is over the whole run.
        if lasted <= 0:
            raise BadTraceError(f"Line {line}: a report must last more than 0 s.")
        longest = max(longest, lasted)
        sample = Sample(now, up_bps=bps if way != "down" else None, down_bps=bps if way != "up" else None)
        samples.append((line, sample))
        now = round(now + lasted, 6)
    return Trace(checked(samples))
