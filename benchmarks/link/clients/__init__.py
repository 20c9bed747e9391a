"""Clients of the experiments, a file each. Each prints a line a call, as `airserve lab run` wants it."""

import time

STARTED = time.monotonic()
"""When this process began: it is the first that a client imports, so all of them count from the same moment."""
