"""Airserve's own client, and itself with one feature turned off: `ours WORKLOAD FOLDER [--without FEATURE]`."""

from __future__ import annotations

import argparse
import os
from contextlib import suppress
from pathlib import Path
from typing import Literal

from airserve.client import Client
from airserve.client.link.ask import LinkOptions
from airserve.core.errors import AirserveError
from benchmarks.link.clients import service
from benchmarks.link.clients.pace import TIMEOUT_S, Seen, play
from benchmarks.link.workloads import open_workload

WITHOUT = ("device", "codecs", "fallback", "race", "estimate")
"""What can be turned off: the device at all, codecs, only the device's answer at the deadline, the race of HTTP/2 with
HTTP/3, and the choice by what was learnt of the link: one codec and the cloud, always."""


def main() -> None:
    """Call at the workload's pace, with its deadline."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workload")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--without", choices=WITHOUT)
    parser.add_argument("--waits", action="store_true", help="no deadline and no device: wait for the cloud")
    parser.add_argument("--cloud-first", action="store_true", help="the device only where the cloud is late")
    asked = parser.parse_args()
    workload = open_workload(asked.workload, asked.folder)
    without: str | None = asked.without
    options = _options(without, workload.deadline_s, workload.fixed_codec, waits=asked.waits)
    if asked.cloud_first:
        options["place"] = "cloud"
    http: Literal["auto", "2"] = "2" if without == "race" else "auto"
    seed = int(os.environ.get("AIRSERVE_SEED", "0"))
    cache = asked.folder / "device"
    timeout_ms = TIMEOUT_S * 1e3
    with Client(
        service.URL, service.KEY, ca=service.CA, http=http, cache=cache, seed=seed, timeout_ms=timeout_ms
    ) as client:
        if "fallback" in options or without == "fallback":
            with suppress(AirserveError):
                client.prepare(workload.model)

        def ask(number: int) -> Seen:
            answer = client.infer(workload.model, workload.inputs(number), **options)
            return Seen(workload.judge(number, answer), answer.place, answer.codec)

        play(ask, workload.every_s, workload.at_once)


def _options(without: str | None, deadline_s: float, fixed_codec: str, *, waits: bool) -> LinkOptions:
    options = LinkOptions(prefer="latency")
    if not waits:
        options["deadline"] = deadline_s
    if not waits and without not in ("device", "fallback"):
        options["fallback"] = "device"
    if waits or without in ("device", "estimate"):
        options["place"] = "cloud"
    if without == "codecs":
        options["codec"] = "raw"
    if without == "estimate":
        options["codec"] = fixed_codec
    return options


if __name__ == "__main__":
    main()
