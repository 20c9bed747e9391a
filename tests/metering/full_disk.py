"""Fill a real, very small disk (or file size limit) with journal batches, and say what happened.

    python full_disk.py FOLDER limit|disk

Prints one JSON object: the ids that were recorded, how many batches were refused before anything was done for them, the
reasons of refusals after that, and what a reader finds at the end.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

from appender import event

from airserve.core.errors import OverloadedError
from airserve.metering.event import decode_event
from airserve.metering.journal import Journal
from airserve.metering.segments import read_batches, segments_of

BATCH = 16


def main() -> None:
    folder, kind = Path(sys.argv[1]), sys.argv[2]
    ballast = folder.parent / "ballast"
    if kind == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    else:
        ballast.write_bytes(bytes(64 << 10))
    journal = Journal.open(folder, "n", segment_bytes=1 << 30, reserve_bytes=16 << 10)
    recorded, messages, refused = [], set(), 0
    for batch in range(120):
        while not is_admitted(journal):
            refused += 1
            assert found_ids(folder) == recorded
            if kind == "disk" and refused == 5:
                ballast.unlink()
            time.sleep(0.02)
        ids = [f"{batch}-{number}" for number in range(BATCH)]
        try:
            journal.append([event(each) for each in ids])
            recorded += ids
        except OverloadedError as error:
            messages.add(error.message)
            found = found_ids(folder)
            assert found == recorded, "a refused batch left something behind"
    journal.close()
    found = found_ids(folder)
    print(json.dumps({"recorded": recorded, "found": found, "refused": refused, "messages": sorted(messages)}))


def is_admitted(journal: Journal) -> bool:
    try:
        journal.admit()
    except OverloadedError as error:
        assert "usage cannot be recorded" in error.message
        return False
    return True


def found_ids(folder: Path) -> list[str]:
    ids, lsn = [], 1
    segments = segments_of(folder)
    for segment in segments:
        offset = 0
        while frames := read_batches(folder, segment, offset, lsn, last=segment == segments[-1]):
            ids += [decode_event(frame.payload).id for frame in frames]
            offset, lsn = frames[-1].end, frames[-1].lsn + 1
    return ids


if __name__ == "__main__":
    main()
