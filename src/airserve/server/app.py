"""The ASGI application that the front loads by name; its settings come in the environment."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys

from airserve.server.asgi import AsgiApp
from airserve.server.logs import configure_logs
from airserve.server.runtime import Runtime
from airserve.server.settings import Settings

SETTINGS_VARIABLE = "AIRSERVE_RUN_SETTINGS"
_PR_SET_PDEATHSIG = 1
_GARBAGE_THRESHOLD = 50_000


def make_runtime() -> Runtime:
    """The runtime for the settings that the supervisor handed over."""
    settings = Settings.model_validate_json(os.environ[SETTINGS_VARIABLE])
    configure_logs(settings.log_level)
    _belong_to_the_supervisor()
    # The default of 5 ms is how long a worker with a finished batch may wait for a busy event loop.
    sys.setswitchinterval(0.001)
    runtime = Runtime(settings)
    # What is loaded now stays: looking through it again and again for garbage took a tenth of the time of a call.
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GARBAGE_THRESHOLD)
    return runtime


def _belong_to_the_supervisor() -> None:
    """Signals for the whole process group, such as Ctrl-C, are the supervisor's to handle: it drains first.

    A supervisor that is killed takes this process along, so that its port and journal are free (prctl(2)).
    """
    os.setpgid(0, 0)
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


app = AsgiApp(make_runtime)
