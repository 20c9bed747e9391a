"""What a call costs the battery: a model of four numbers, good for comparing plans and for nothing else.

J = sending power · seconds sending + receiving power · seconds receiving + processor power · seconds computing + tail.
The powers are round figures of the order that phones are reported to draw, and were not measured here; the tail is
what a radio that had gone to sleep burns while it waits to do so again.
"""

from __future__ import annotations

SENDING_W = 2.5
RECEIVING_W = 1.2
COMPUTING_W = 2.0
TAIL_J = 6.0


def joules(*, sending_s: float, receiving_s: float, computing_s: float, wakes: bool) -> float:
    """Joules of one call; `wakes` where the radio sleeps before it."""
    used = SENDING_W * sending_s + RECEIVING_W * receiving_s + COMPUTING_W * computing_s
    return used + (TAIL_J if wakes else 0.0)
