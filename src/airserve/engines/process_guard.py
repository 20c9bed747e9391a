"""What the process of a model does to itself: it ends with its parent, and keeps its memory to itself."""

from __future__ import annotations

import ctypes
import os
import resource
import signal

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4


def end_with(parent: int) -> None:
    """When the process `parent`, which started this one, is killed, the kernel kills this one (prctl(2))."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        # It was killed before the kernel knew.
        os._exit(1)


def keep_to_itself() -> None:
    """No core dump, and no other process of the same user may read this memory or trace it; root may (prctl(2)).

    What is printed from now on, by whatever library, goes nowhere: it might quote an input.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    os.close(nowhere)
