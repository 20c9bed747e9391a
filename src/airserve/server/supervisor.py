"""Start the front, say when it is ready, drain and stop it on SIGTERM or SIGINT.

The front takes SIGTERM as "at once". So the signals come here, and the service is asked to drain first: new
calls get 503, accepted ones finish, then the front ends.

The usage journal is folded into the ledger here, once a second: a fold in the serving process would hold the
interpreter lock that its event loops need.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import fcntl
import secrets
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyqwest
import structlog
from pyvoy import StartupError

from airserve.accounts.client_authorities import list_authorities
from airserve.client.transport import NETWORK_ERRORS
from airserve.core.errors import AirserveError, ConflictError, OverloadedError
from airserve.metering.ledger import fold
from airserve.server.database_status import SERVING_LOCK
from airserve.server.deliveries import start_deliveries
from airserve.server.front import Front, free_port, is_free
from airserve.server.front_limits import allow_as_many_files_as_can_be
from airserve.server.installation import journal_folder, open_database
from airserve.server.logs import configure_logs
from airserve.server.repeating import repeat
from airserve.server.settings import Settings
from airserve.server.sockets import DRAIN_TOKEN_VARIABLE, SETTINGS_VARIABLE, SOCKETS_VARIABLE, Sockets
from airserve.server.tls import TlsFiles, development_tls
from airserve.server.tls_secrets import TlsSecrets
from airserve.storage import Database

log = structlog.get_logger("airserve.server")

_FOLD_EVERY_S = 1.0
_FOLLOW_TLS_EVERY_S = 0.5


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
    configure_logs(settings.log_level)
    allow_as_many_files_as_can_be()
    with _only_server_of(settings.state_dir):
        return await _serve(settings, on_ready)


async def _serve(settings: Settings, on_ready: Callable[[Address], None]) -> int:
    with tempfile.TemporaryDirectory(prefix="airserve-") as folder:
        # Not in the state folder: the path of a Unix domain socket has at most 107 bytes (unix(7)).
        return await _serve_through(Sockets(Path(folder)), settings, on_ready)


async def _serve_through(sockets: Sockets, settings: Settings, on_ready: Callable[[Address], None]) -> int:
    if settings.port:
        _refuse_taken_port(settings.host, settings.port)
    tls = _tls(settings)
    tls_secrets = TlsSecrets(sockets.folder, tls.cert, tls.key)
    await asyncio.to_thread(_first_secrets, settings, tls_secrets)
    token = secrets.token_urlsafe(32)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    front, port = await _started_front(settings, sockets, tls_secrets, token)
    address = _address(settings.host, port, tls)
    ended = asyncio.create_task(front.wait())
    await _until_live(address.http_url, ended)
    background = [
        # Nothing is lost where a fold fails: the journal keeps what the ledger could not take.
        asyncio.create_task(
            repeat(
                settings,
                lambda database: fold(database, journal_folder(settings)),
                "usage could not be folded",
                every_s=_FOLD_EVERY_S,
            )
        ),
        asyncio.create_task(
            repeat(
                settings,
                _following(tls_secrets),
                "certificates could not be followed",
                every_s=_FOLLOW_TLS_EVERY_S,
                report=log.warning,
            )
        ),
        *start_deliveries(settings),
    ]
    if not ended.done():
        on_ready(address)
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({ended, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not ended.done():
        await _drain(address.http_url, token, settings.drain_seconds)
        await front.stop()
    for task in background:
        task.cancel()
    await asyncio.to_thread(_fold_rest, settings)
    return 0 if stop.is_set() else ended.result() or 1


async def _started_front(
    settings: Settings, sockets: Sockets, tls_secrets: TlsSecrets, token: str
) -> tuple[Front, int]:
    """The front, and the port that it answers on.

    Where any port will do, another program may take the one that was found free before the front has it: then another.
    """
    while True:
        port = settings.port or free_port(settings.host)
        environment = {
            SETTINGS_VARIABLE: settings.model_copy(update={"port": port}).model_dump_json(),
            SOCKETS_VARIABLE: str(sockets.folder),
            DRAIN_TOKEN_VARIABLE: token,
        }
        front = Front(
            "airserve.server.app:app",
            host=settings.host,
            port=port,
            secrets=tls_secrets,
            sockets=sockets,
            env=environment,
        )
        try:
            await front.start()
        except StartupError as error:
            if settings.port or not _taken(settings.host, port):
                raise AirserveError(f"the service could not start: {error} Its own messages are above") from error
        else:
            return front, port


def _trusted(database: Database) -> list[str]:
    """The authorities of all tenants, PEM."""
    return [each.pem for each in list_authorities(database)]


def _first_secrets(settings: Settings, tls_secrets: TlsSecrets) -> None:
    """What the front starts with."""
    database = open_database(settings)
    try:
        tls_secrets.follow(_trusted(database))
    finally:
        database.close()


def _following(tls_secrets: TlsSecrets) -> Callable[[Database], None]:
    """Work that lets a certificate that was renewed, or an authority that was added, hold for the next connection."""
    counter = -1
    authorities: list[str] = []

    def follow(database: Database) -> None:
        nonlocal counter, authorities
        if (now := database.change_counter()) != counter:
            authorities, counter = _trusted(database), now
        if tls_secrets.follow(authorities):
            log.info("certificates changed; new connections see them", authorities=len(authorities))

    return follow


def _fold_rest(settings: Settings) -> None:
    """What the last calls used is in the ledger when the service has stopped."""
    try:
        database = open_database(settings)
        try:
            fold(database, journal_folder(settings))
        finally:
            database.close()
    except OverloadedError as error:
        log.warning("the journal keeps the last usage; the next start folds it", reason=error.message)


@contextlib.contextmanager
def _only_server_of(state_dir: Path) -> Iterator[None]:
    """Two services on one state folder would write one journal; the second is refused."""
    with (state_dir / SERVING_LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConflictError(
                f"{state_dir} is served already; stop that service, or choose another --state-dir"
            ) from None
        yield


def _refuse_taken_port(host: str, port: int) -> None:
    if taken := _taken(host, port):
        raise ConflictError(f"{taken[0]} port {port} on {host} is taken; name another with --port, or 0 for any")


def _taken(host: str, port: int) -> list[str]:
    """The protocols for which the port cannot be had."""
    kinds = {"TCP": socket.SOCK_STREAM, "UDP": socket.SOCK_DGRAM}
    return [name for name, kind in kinds.items() if not is_free(host, port, kind)]


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
        with contextlib.suppress(*NETWORK_ERRORS):
            response = await client.get(f"{http_url}/v2/health/live")
            if response.status == 200:
                return
        await asyncio.sleep(0.05)


async def _drain(http_url: str, token: str, seconds: float) -> None:
    request = pyqwest.Client().post(f"{http_url}/control/drain", headers={"authorization": f"Bearer {token}"})
    try:
        await asyncio.wait_for(request, seconds + 5)
    except NETWORK_ERRORS as error:
        log.warning("drain did not finish", reason=str(error))
