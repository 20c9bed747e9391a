"""A process that records calls as fast as it can and says each id on standard output once it is recorded.

    python appender.py FOLDER RUN

Run by the tests that kill it or take its disk away; it stops by itself at the end of its input.
"""

from __future__ import annotations

import os
import random
import sys
import threading
from pathlib import Path

from airserve.metering.event import Outcome, UsageEvent
from airserve.metering.journal import Journal


def main() -> None:
    folder, run = Path(sys.argv[1]), sys.argv[2]
    journal = Journal.open(folder, "n", segment_bytes=40_000)
    threads = [threading.Thread(target=append, args=(journal, f"{run}-{number}"), daemon=True) for number in range(2)]
    for thread in threads:
        thread.start()
    sys.stdin.read()


def append(journal: Journal, run: str) -> None:
    sizes = random.Random(run)
    number = 0
    while True:
        ids = [f"{run}-{number + index}" for index in range(sizes.randint(1, 32))]
        journal.append([event(each) for each in ids])
        os.write(1, "".join(f"{each}\n" for each in ids).encode())
        number += len(ids)


def event(call_id: str) -> UsageEvent:
    return UsageEvent(
        id=call_id,
        tenant_id="ten_a",
        key_id="key_a",
        model="digits",
        version=1,
        price_id=0,
        outcome=Outcome.OK,
        rows=1,
        bytes_in=256,
        bytes_out=40,
        compute_ns=1_000,
        amount_nano=7,
        currency="EUR",
        admitted_ns=1_700_000_000_000_000_000,
    )


if __name__ == "__main__":
    main()
