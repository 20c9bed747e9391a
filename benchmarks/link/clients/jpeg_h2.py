"""Pictures as JPEG over one warm connection of HTTP/2, in the size that the model looks at: `… FOLDER QUALITY`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from airserve.client import Client
from airserve.codecs.pictures import recode
from benchmarks.link.clients import service
from benchmarks.link.clients.pace import TIMEOUT_S, Seen, play
from benchmarks.link.workloads.vision import RESAMPLE, RESIZE, Vision


def main() -> None:
    """Each call scales the picture and codes it, as ours does."""
    workload, codec = Vision(Path(sys.argv[2])), f"jpeg:{sys.argv[3]}"
    with Client(service.URL, service.KEY, ca=service.CA, http="2", timeout_ms=TIMEOUT_S * 1e3) as client:

        def ask(number: int) -> Seen:
            picture = np.empty(1, object)
            picture[0] = recode(workload.picture(number), resize=RESIZE, codec=codec, resample=RESAMPLE)
            return Seen(workload.judge(number, client.infer(workload.model, {"image": picture})), codec=codec)

        play(ask, workload.every_s, workload.at_once)


if __name__ == "__main__":
    main()
