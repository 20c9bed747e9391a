"""How both clients reach the network: pyqwest's transports, and its errors as ours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pyqwest

from airserve.client.exchange import HttpResponse
from airserve.core.errors import AirserveError, DeadlineExceededError, InvalidInputError, UnreachableError

NETWORK_ERRORS = (OSError, pyqwest.ReadError, pyqwest.WriteError, pyqwest.RemoteProtocolError)
Pem = str | Path | bytes
"""A file, or its content."""
T = TypeVar("T")
_VERSION_OF = {
    "1.1": pyqwest.HTTPVersion.HTTP1,
    "2": pyqwest.HTTPVersion.HTTP2,
    "3": pyqwest.HTTPVersion.HTTP3,
}


def open_transport(kind: Callable[..., T], http: str, ca: Pem | None, certificate: tuple[Pem, Pem] | None) -> T:
    """A transport of pyqwest, of this kind. Raises `InvalidInputError` for certificates that cannot be used."""
    options = _options(http, ca, certificate)
    try:
        return kind(**options)
    except (RuntimeError, ValueError) as error:
        raise InvalidInputError(
            f"CA certificate, client certificate or its key cannot be used ({str(error)[:200]}); they are PEM, and "
            "certificates X.509 of version 3"
        ) from None


def _options(http: str, ca: Pem | None, certificate: tuple[Pem, Pem] | None) -> dict[str, Any]:
    """Keyword arguments for pyqwest's transports; `ca` is PEM or a path to it, None the system's authorities.

    `certificate` is the client's own for mutual TLS, and its private key.
    """
    options: dict[str, Any] = {"http_version": _VERSION_OF.get(http), "follow_redirects": False, "enable_otel": False}
    if certificate is not None:
        options["tls_cert"], options["tls_key"] = (_pem(each, "client certificate") for each in certificate)
    if ca is None:
        return {**options, "tls_include_system_certs": True}
    return {**options, "tls_ca_cert": _pem(ca, "CA certificate")}


def _pem(given: Pem, what: str) -> bytes:
    if isinstance(given, bytes):
        return given
    try:
        return Path(given).read_bytes()
    except OSError as error:
        raise InvalidInputError(f"the {what} {given} cannot be read: {error.strerror}") from None


def as_response(response: pyqwest.FullResponse) -> HttpResponse:
    """pyqwest's response as ours."""
    return HttpResponse(response.status, lower_headers(response.headers), response.content)


def lower_headers(headers: pyqwest.Headers) -> dict[str, str]:
    """Headers by their names in lower case."""
    return {name.lower(): value for name, value in headers.items()}


def no_answer(url: str, error: BaseException, timeout_s: float | None) -> AirserveError:
    """What it means that no answer came: the call's time has run out, or the service cannot be reached.

    Whether the service did the work is not known, so the same call id goes with the next attempt.
    """
    if isinstance(error, TimeoutError) and timeout_s is not None:
        return DeadlineExceededError(f"the time for this call ran out: no answer within {timeout_s * 1000:.3g} ms")
    detail = str(error).strip() or type(error).__name__
    return UnreachableError(f"no answer from {url}: {detail[:200]}")
