"""One client after another, as lines of standard input ask for: a fixed plan, or the adapting one.

A line in is a `Task` in JSON, a line out the milliseconds of each call, with when it began and by which plan.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Literal, cast

import msgspec

from airserve.client import Client
from airserve.client.link.ask import LinkOptions
from airserve.core.errors import AirserveError
from benchmarks.link.cells import CACHE
from benchmarks.link.oracle_models import MODELS

_TIMEOUT_MS = 8000.0


class Task(msgspec.Struct, frozen=True):
    """What to play: the adapting client where `place` is empty. Calls are `every_s` apart, none beside another."""

    model: str
    place: str
    codec: str
    http: str
    seconds: float
    every_s: float


class Played(msgspec.Struct, frozen=True):
    """One call; `t` in seconds from the start, `ms` infinite where no answer came."""

    t: float
    ms: float
    place: str
    codec: str
    http: str


class Plan(msgspec.Struct, frozen=True):
    """One plan that the client may take."""

    place: str
    codec: str


class Service(msgspec.Struct, frozen=True):
    """How to call it."""

    url: str
    key: str
    ca: str


def main() -> None:
    """Serve tasks until the input ends."""
    service = Service(os.environ["AIRSERVE_URL"], os.environ["AIRSERVE_KEY"], os.environ["AIRSERVE_CA"])
    for line in sys.stdin:
        kind, _, rest = line.partition(" ")
        if kind == "plans":
            answer: object = plans(service, msgspec.json.decode(rest, type=str))
        else:
            answer = play(service, msgspec.json.decode(rest, type=Task))
        sys.stdout.write(msgspec.json.encode(answer).decode() + "\n")
        sys.stdout.flush()


def _client(service: Service, http: str, *, adapt: bool = False) -> Client:
    kind = cast(Literal["auto", "2", "3"], http)
    return Client(service.url, service.key, ca=service.ca, http=kind, cache=_cache(), timeout_ms=_TIMEOUT_MS,
                  adapt=adapt, seed=0, retries=0)  # fmt: skip


def _cache() -> Path:
    return CACHE / "oracle-device"


def plans(service: Service, model: str) -> list[Plan]:
    """All that reach the accuracy floor, the device's bundle fetched first where it may compute."""
    chosen, frames = MODELS[model], MODELS[model].inputs()
    with _client(service, "2", adapt=True) as client:
        if chosen.device:
            client.prepare(chosen.name)
        known = client.infer(chosen.name, frames(0), explain=True).explanation
    return [Plan(each.place, each.codec) for each in known if each.accuracy is not None and each.accuracy >= 0.99]


def play(service: Service, task: Task) -> list[Played]:
    """The calls of one client."""
    chosen, frames = MODELS[task.model], MODELS[task.model].inputs()
    options = LinkOptions(place=task.place, codec=task.codec) if task.place else LinkOptions()  # type: ignore[typeddict-item]
    if task.place == "device":
        options = LinkOptions(place="device")
    seen: list[Played] = []
    began, number = time.monotonic(), 0
    with _client(service, task.http, adapt=True) as client:
        if chosen.device:
            client.prepare(chosen.name)
        while (now := time.monotonic()) < began + task.seconds:
            due = began + number * task.every_s
            if now > due + task.every_s:
                number = int((now - began) / task.every_s) + 1
                continue
            time.sleep(max(0.0, due - now))
            asked = time.monotonic()
            try:
                answer = client.infer(chosen.name, frames(number), **options)
                place, codec, http = str(answer.place), answer.codec, answer.transport.removeprefix("HTTP/")
            except AirserveError:
                place, codec, http = "none", "", ""
            ms = (time.monotonic() - asked) * 1e3
            seen.append(Played(asked - began, ms, place, codec, http))
            number += 1
    return seen


if __name__ == "__main__":
    main()
