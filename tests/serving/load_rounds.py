"""Loads, calls and unloads one model again and again, in a process of its own, where nothing else takes memory.

Arguments: a folder and the number of rounds. Prints as JSON the size of the weights and, after as many rounds to settle
as there are threads to keep something, and after all rounds, the bytes in memory and the threads.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import threading
from pathlib import Path

from tests.models_for_tests import save_wide
from tests.serving.house import House, infer, ones

WIDTH = 2240
SETTLE = 10


def main(folder: Path, count: int) -> dict[str, list[int] | int]:
    house = House(folder / "state")
    house.publish("wide", save_wide(folder / "wide.onnx", WIDTH))
    # What publishing read is not what serving keeps.
    gc.collect()
    with house.service() as service:

        def rounds(count: int) -> list[int]:
            for _ in range(count):
                service.load("wide")
                asyncio.run(infer(service, "wide", ones(WIDTH)))
                service.unload("wide")
            return [resident_bytes(), threading.active_count()]

        seen = {
            "weights": service.find("wide").weight_bytes, "before": rounds(SETTLE), "after": rounds(count),
        }  # fmt: skip
    house.close()
    return seen


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]))))
