"""Start the front, say when it is ready, drain and stop it on SIGTERM or SIGINT.

The front takes SIGTERM as "at once". So the signals come here, and the service is asked to drain first: new
calls get 503, accepted ones finish, then the front ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import secrets
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyqwest
from pyvoy import StartupError

from airserve.core.errors import AirserveError, ConflictError
from airserve.server.app import SETTINGS_VARIABLE
from airserve.server.endpoints import DRAIN_TOKEN_VARIABLE
from airserve.server.front import Front, free_port, is_free
from airserve.server.settings import Settings
from airserve.server.tls import TlsFiles, development_tls


@dataclass(frozen=True, slots=True)
class Address:
    """Where a started service answers: `url` over TLS from anywhere, `http_url` in plaintext from loopback."""

    url: str
    http_url: str
    ca: Path | None


async def serve(settings: Settings, on_ready: Callable[[Address], None]) -> int:
    """Run the service until it is told to stop; the exit code, 0 after a clean stop.

    `on_ready` is called once, when models are loaded and the port answers.
    """
    port = settings.port or free_port(settings.host)
    _refuse_taken_port(settings.host, port)
    tls = _tls(settings)
    token = secrets.token_urlsafe(32)
    environment = {SETTINGS_VARIABLE: settings.model_dump_json(), DRAIN_TOKEN_VARIABLE: token}
    front = Front("airserve.server.app:app", host=settings.host, port=port, cert=tls.cert, key=tls.key, env=environment)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        await front.start()
    except StartupError as error:
        raise AirserveError(f"the service could not start: {error} Its own messages are above") from error
    address = _address(settings.host, port, tls)
    ended = asyncio.create_task(front.wait())
    await _until_live(address.http_url, ended)
    if not ended.done():
        on_ready(address)
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({ended, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if ended.done():
        return ended.result() or 1
    await _drain(address.http_url, token, settings.drain_seconds)
    await front.stop()
    return 0


def _refuse_taken_port(host: str, port: int) -> None:
    for kind, name in ((socket.SOCK_STREAM, "TCP"), (socket.SOCK_DGRAM, "UDP")):
        if not is_free(host, port, kind):
            raise ConflictError(f"{name} port {port} on {host} is taken; name another with --port, or 0 for any")


def _tls(settings: Settings) -> TlsFiles:
    if settings.tls_cert is not None and settings.tls_key is not None:
        return TlsFiles(settings.tls_cert, settings.tls_key, None)
    return development_tls(settings.state_dir / "tls", settings.host, dt.datetime.now(dt.UTC))


def _address(host: str, port: int, tls: TlsFiles) -> Address:
    shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  # what a client can connect to
    shown = f"[{shown}]" if ":" in shown else shown
    return Address(f"https://{shown}:{port}", f"http://{shown}:{port}", tls.ca)


async def _until_live(http_url: str, ended: asyncio.Task[int | None]) -> None:
    client = pyqwest.Client()
    while not ended.done():
        with contextlib.suppress(OSError, pyqwest.ReadError):
            response = await client.get(f"{http_url}/v2/health/live")
            if response.status == 200:
                return
        await asyncio.sleep(0.05)


async def _drain(http_url: str, token: str, seconds: float) -> None:
    request = pyqwest.Client().post(f"{http_url}/control/drain", headers={"authorization": f"Bearer {token}"})
    try:
        await asyncio.wait_for(request, seconds + 5)
    except (OSError, TimeoutError, pyqwest.ReadError) as error:
        sys.stderr.write(f"drain did not finish: {error}\n")

