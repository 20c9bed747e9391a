"""The serving process: the ASGI application that the front loads by name, and the sockets of HTTP/1.1 beside it.

Its settings come in the environment.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import signal
import sys
from pathlib import Path

from airserve.server.apis.grpc import GrpcApplication
from airserve.server.asgi import AsgiApp
from airserve.server.endpoints import Endpoints
from airserve.server.http1 import Http1Server
from airserve.server.logs import configure_logs
from airserve.server.runtime import Runtime
from airserve.server.settings import Settings
from airserve.server.sockets import SETTINGS_VARIABLE, SOCKETS_VARIABLE, Sockets, alt_svc

_PR_SET_PDEATHSIG = 1
_GARBAGE_THRESHOLD = 50_000


class Process:
    """Everything that serves, started and stopped once."""

    async def start(self) -> tuple[Endpoints, GrpcApplication]:
        """Load what should be served, and listen. HTTP/1.1 is answered on the event loop that this is called on."""
        settings = Settings.model_validate_json(os.environ[SETTINGS_VARIABLE])
        configure_logs(settings.log_level)
        _belong_to_the_supervisor()
        # The default of 5 ms is how long a worker with a finished batch may wait for a busy event loop.
        sys.setswitchinterval(0.001)
        self._runtime = Runtime(settings)
        endpoints, grpc = Endpoints(self._runtime), GrpcApplication(self._runtime)
        sockets = Sockets(Path(os.environ[SOCKETS_VARIABLE]))
        most = settings.max_connections_per_address
        announced = [(b"alt-svc", alt_svc(settings.port).encode())]
        plain = Http1Server(endpoints.handle, refuse=endpoints.refuse, most_of_one_address=most)
        tls = Http1Server(endpoints.handle, announced, refuse=endpoints.refuse, most_of_one_address=most)
        await plain.listen_unix(sockets.plain)
        await tls.listen_unix(sockets.tls)
        self._servers = (plain, tls)
        # What is loaded now stays: looking through it again and again for garbage took a tenth of the time of a call.
        gc.collect()
        gc.freeze()
        gc.set_threshold(_GARBAGE_THRESHOLD)
        return endpoints, grpc

    async def stop(self) -> None:
        """Stop everything, after every accepted call has been answered."""
        for server in self._servers:
            server.close()
        await asyncio.to_thread(self._runtime.close)


def _belong_to_the_supervisor() -> None:
    """Signals for the whole process group, such as Ctrl-C, are the supervisor's to handle: it drains first.

    A supervisor that is killed takes this process along, so that its port and journal are free (prctl(2)).
    """
    os.setpgid(0, 0)
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


_process = Process()
app = AsgiApp(_process.start, _process.stop)
