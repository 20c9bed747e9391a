"""What a front gives us and takes from us: one request, one response. No framework, no protocol in here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from airserve.accounts.client_certificate import ClientCertificate, certificate_of
from airserve.server.proxy_protocol import plain_address
from airserve.serving.standing import Standing

ONCE = frozenset((b"authorization", b"x-api-key", b"idempotency-key"))
"""Fields of which a second would leave open who calls, or whether this call came before."""


@dataclass(slots=True)
class Notes:
    """What is found out about a request on its way, for whoever writes the head of its answer."""

    standing: Standing | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request. `path` is percent-encoded as it came; header names are lower-case; `read(limit)` gives
    the whole body or raises `TooLargeError`; `started_ns` is on the clock of `time.monotonic_ns`; `client` is the IP
    address of who sent it, empty where the front does not tell; `notes` are ours."""

    method: str
    path: str
    headers: Mapping[bytes, bytes]
    read: Callable[[int], Awaitable[bytes | memoryview]]
    started_ns: int
    client: str = ""
    certificate: ClientCertificate | None = None
    notes: Notes = field(default_factory=Notes)


def fields_of(given: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Header fields by their names; of one that is repeated the last, and all of one that stands once or not at all.

    Those are joined by a line feed, which no field holds: so the one value that is asked for is none that is valid.
    """
    fields = list(given)
    headers = dict(fields)
    if len(headers) != len(fields):
        for once in ONCE & headers.keys():
            headers[once] = b"\n".join(value for name, value in fields if name == once)
    return headers


def client_of(scope: Mapping[str, Any]) -> str:
    """The client's IP address by an ASGI scope; empty where the front does not know it."""
    client = scope.get("client")
    return plain_address(client[0]) if client else ""


def certificate_in(headers: Mapping[bytes, bytes]) -> ClientCertificate | None:
    """The client's certificate as the front tells of it; what a client writes there itself, the front removes."""
    for part in headers.get(b"x-forwarded-client-cert", b"").decode("latin-1").split(";"):
        name, _, value = part.partition("=")
        if name == "Cert":
            return certificate_of(value.strip('"'))
    return None
