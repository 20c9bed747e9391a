"""Frames at a steady pace: ask, print the call's line, and wait for the next tick."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

import msgspec

from airserve.lab.call_lines import CallLine
from benchmarks.link.clients import STARTED

WARM_S = 5.0
"""Every client has so long to load and to connect; then all of them meet the same moments of the link."""

TIMEOUT_S = 10.0
"""How long a client waits that has no deadline."""

DROPPED = "dropped"
"""The place of a frame that nobody asked about."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One answer: whether it is what the whole model says of the whole input, and how it came about.

    `answered_at` (monotonic seconds) is for answers that count from their first piece on.
    """

    correct: bool
    place: str = "cloud"
    codec: str = "raw"
    answered_at: float | None = None


def play(ask: Callable[[int], Seen], every_s: float, at_once: int = 1) -> None:
    """Call `ask` with 0, 1, 2 … every `every_s` seconds, until the time that the experiment gives is over.

    A frame whose tick comes while `at_once` calls are waiting is dropped, as a camera drops it; its line says so. One
    call before the first frame opens the connection.
    """
    end = STARTED + float(os.environ["AIRSERVE_SECONDS"])
    with suppress(Exception):
        ask(0)
    first = STARTED + WARM_S
    number = max(0, 1 + int((time.monotonic() - first) // every_s))
    lines, free = _Lines(), threading.Semaphore(at_once)

    def call(number: int) -> None:
        began, seen = time.monotonic(), None
        try:
            seen = ask(number)
        except Exception as error:  # whatever a client raises, the call has no answer
            print(f"frame {number}: {type(error).__name__}: {str(error)[:200]}", file=sys.stderr)
        ended = time.monotonic() if seen is None or seen.answered_at is None else seen.answered_at
        lines.call(began, ended, seen)
        free.release()

    with ThreadPoolExecutor(at_once) as threads:
        while (tick := first + number * every_s) < end:
            time.sleep(max(0.0, tick - time.monotonic()))
            if free.acquire(blocking=False):
                threads.submit(call, number)
            else:
                lines.dropped(tick)
            number += 1


class _Lines:
    """Prints calls, each with the processor time since the line before it."""

    def __init__(self) -> None:
        self._spent_s = time.process_time()
        self._lock = threading.Lock()

    def call(self, began: float, ended: float, seen: Seen | None) -> None:
        with self._lock:
            before, self._spent_s = self._spent_s, time.process_time()
            cpu_ms = (self._spent_s - before) * 1e3
            line = CallLine(ms=(ended - began) * 1e3, ok=seen is not None, t=began, cpu_ms=cpu_ms)
            if seen is not None:
                line = msgspec.structs.replace(line, place=seen.place, codec=seen.codec, correct=seen.correct)
            self._print(line)

    def dropped(self, at: float) -> None:
        with self._lock:
            self._print(CallLine(ms=0.0, ok=False, t=at, place=DROPPED))

    def _print(self, line: CallLine) -> None:
        sys.stdout.write(msgspec.json.encode(line).decode() + "\n")
        sys.stdout.flush()
