"""A device with a session: a line of JSON for each answer, until its input ends. `python -m … RATE DEADLINE HTTP`."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from typing import Any

import numpy as np

from airserve import Client
from airserve.client.session.frame import FrameAnswer


def main() -> None:
    """Give frames at the rate; at the end of standard input, print what the session counted."""
    rate, deadline, http = float(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
    over = threading.Event()

    def wait() -> None:
        sys.stdin.read()
        over.set()

    threading.Thread(target=wait, daemon=True).start()
    random = np.random.default_rng(1)
    environment = os.environ
    client = Client(
        environment["AIRSERVE_URL"],
        environment["AIRSERVE_KEY"],
        ca=environment["AIRSERVE_CA"],
        http=http,  # type: ignore[arg-type]
    )
    with client, client.session("digits", rate=rate, deadline=deadline, on_answer=_print) as session:
        next_at, cpu = time.monotonic(), time.process_time()
        while not over.is_set():
            session.send({"x": random.random((1, 64), np.float32)})
            next_at += 1 / rate
            time.sleep(max(0.0, next_at - time.monotonic()))
        session.drain(2)
        stats = session.stats
        told: dict[str, Any] = {name: getattr(stats, name) for name in stats.__slots__}
        print(json.dumps({"stats": told, "cpu_s": time.process_time() - cpu}), flush=True)


def _print(answer: FrameAnswer) -> None:
    line = {"at": time.monotonic(), "frame": answer.frame, "age_ms": answer.age_ms, "transport": answer.transport}
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
