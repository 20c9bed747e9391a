"""Which service a command calls, and with which key: what was given, else what `airserve up` left for this user."""

from __future__ import annotations

import contextlib
import json
import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from airserve.core.errors import MissingKeyError, NotFoundError

if TYPE_CHECKING:
    from airserve.client import Client


class Http(StrEnum):
    """The protocol to call with."""

    auto = "auto"
    http1 = "1.1"
    http2 = "2"
    http3 = "3"


Url = Annotated[str | None, typer.Option("--url", envvar="AIRSERVE_URL", help="The service; your own without it.")]
Key = Annotated[str | None, typer.Option("--key", envvar="AIRSERVE_KEY", help="The API key.")]
Ca = Annotated[Path | None, typer.Option("--ca", envvar="AIRSERVE_CA", help="The certificate authority, PEM.")]
OwnStateDir = Annotated[
    Path | None, typer.Option("--state-dir", envvar="AIRSERVE_STATE_DIR", help="Of your own service.")
]
HttpVersion = Annotated[Http, typer.Option("--http", help="HTTP version.")]
TimeoutMs = Annotated[float | None, typer.Option("--timeout-ms", help="Time for the whole call.")]


def connect(
    url: str | None,
    key: str | None,
    ca: Path | None,
    state_dir: Path | None,
    http: Http = Http.auto,
    timeout_ms: float | None = None,
    sealed_identity: str | None = None,
) -> Client:
    """A client of the service that the options name. Raises `NotFoundError` and `MissingKeyError`."""
    from airserve.client import Client

    found_url, found_key, found_ca = find(url, key, ca, state_dir)
    return Client(
        found_url,
        found_key,
        ca=found_ca,
        certificate=_client_certificate(),
        http=http.value,
        timeout_ms=timeout_ms,
        sealed_identity=sealed_identity,
    )


def _client_certificate() -> tuple[str, str] | None:
    """The certificate and key that `AIRSERVE_CLIENT_CERT` and `AIRSERVE_CLIENT_KEY` name, for mutual TLS."""
    certificate, key = os.environ.get("AIRSERVE_CLIENT_CERT"), os.environ.get("AIRSERVE_CLIENT_KEY")
    return (certificate, key) if certificate and key else None


def find(url: str | None, key: str | None, ca: Path | None, state_dir: Path | None) -> tuple[str, str, Path | None]:
    """Where the service is, the key and the authority. Raises `NotFoundError` and `MissingKeyError`."""
    kept: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError):
        kept = json.loads(((state_dir or Path.home() / ".airserve").expanduser() / "credentials.json").read_text())
    found_url, found_key = url or kept.get("url"), key or kept.get("key")
    if not found_url:
        raise NotFoundError("no service is known here; give --url, or start one with airserve up")
    if not found_key:
        raise MissingKeyError("no API key; give --key, or set AIRSERVE_KEY")
    if ca is None and (url is None or url == kept.get("url")) and kept.get("ca"):
        ca = Path(kept["ca"])
    return found_url, found_key, ca
