"""How often tests repeat what has to hold every time: a few times in `make test`, many in `make test-long`."""

from __future__ import annotations

import os


def times(few: int, many: int) -> int:
    """`many` where AIRSERVE_LONG is set."""
    return many if os.environ.get("AIRSERVE_LONG") else few
