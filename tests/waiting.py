"""Waiting for what happens by itself, without a test that asserts how long it takes."""

from __future__ import annotations

import time
from collections.abc import Callable


def until(true: Callable[[], object], seconds: float = 20) -> None:
    """Return once `true()` holds; a test that waits longer than `seconds` has failed."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)
