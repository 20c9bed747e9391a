"""Airserve's client as it is without a deadline: codecs and transports are chosen, and the cloud is waited for."""

from __future__ import annotations

import sys

from benchmarks.link.clients import ours

if __name__ == "__main__":
    sys.argv.append("--waits")
    ours.main()
