"""Airserve's client that never chooses the device by itself: it answers only what the cloud does not in time."""

from __future__ import annotations

import sys

from benchmarks.link.clients import ours

if __name__ == "__main__":
    sys.argv.append("--cloud-first")
    ours.main()
