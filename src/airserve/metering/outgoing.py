"""Calls to other people's servers: to a public address, that was looked at, within a time and a size.

The address of a URL that a customer gave is resolved once, checked, and connected to as it is: a name that answers
differently the second time (DNS rebinding) changes nothing. Redirects are not followed. A proxy is not used.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import SplitResult, urlsplit

from airserve.core.errors import AirserveError, ForbiddenError, InvalidInputError

MAX_REPLY_BYTES = 64 * 1024
TIMEOUT_S = 10.0
_LONGEST_URL = 2_000

Address = IPv4Address | IPv6Address
_ENDS_IN_IPV4 = (IPv6Network("64:ff9b::/96"), IPv6Network("::/96"))
_SITE_LOCAL = IPv6Network("fec0::/10")
# Where clouds tell a machine its secrets: AWS, Azure, GCP, Alibaba, Oracle.
_METADATA = frozenset(
    map(ip_address, ("169.254.169.254", "fd00:ec2::254", "168.63.129.16", "100.100.100.200", "192.0.0.192"))
)


class UnreachableError(AirserveError):
    """The other server did not answer as HTTP, or not in time."""

    code = "unreachable"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the other server said: status and at most `MAX_REPLY_BYTES` of the body."""

    status: int
    body: bytes


def check_url(url: str, *, allow_private: bool) -> SplitResult:
    """The parts of a URL that we may call: https, and a host; http only where private addresses are allowed.

    Raises `InvalidInputError` for what is no such URL. The address behind the name is checked at each call.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidInputError(f"'{url[:80]}' is no URL: {error}") from None
    if len(url) > _LONGEST_URL or not url.isascii() or not url.isprintable() or " " in url:
        raise InvalidInputError(f"a URL has at most {_LONGEST_URL} printable ASCII characters and no spaces")
    allowed = ("https", "http") if allow_private else ("https",)
    if parts.scheme not in allowed or not parts.hostname or port == 0:
        raise InvalidInputError(f"'{url[:80]}' is no URL that can be called; it begins with https:// and names a host")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise InvalidInputError("a URL to call has no user, password or fragment")
    with contextlib.suppress(ValueError):
        _refuse_inside(ip_address(parts.hostname), allow_private=allow_private)
    return parts


def post(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    allow_private: bool,
    timeout_s: float = TIMEOUT_S,
    tls: ssl.SSLContext | None = None,
) -> Answer:
    """POST `body` and read the answer, all within `timeout_s`. Blocks.

    Raises `ForbiddenError` for an address that is not public, `UnreachableError` where there is no answer in time.
    """
    parts = check_url(url, allow_private=allow_private)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    address = _resolve(host, port, allow_private=allow_private)
    connection = _Pinned(
        address, host, port, timeout_s, (tls or ssl.create_default_context()) if parts.scheme == "https" else None
    )
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    # A socket's own timeout begins anew with each byte; a server that drips must not hold this thread.
    alarm = threading.Timer(timeout_s, connection.abort)
    alarm.daemon = True
    alarm.start()
    try:
        connection.request("POST", target, body, {"host": parts.netloc, "connection": "close", **headers})
        response = connection.getresponse()
        answer = Answer(response.status, response.read(MAX_REPLY_BYTES))
        if connection.aborted:
            # To the parser the end of a connection may look like the end of an answer.
            raise TimeoutError
        return answer
    except (OSError, http.client.HTTPException, ValueError, AttributeError) as error:
        # The alarm takes the socket from under whoever reads it, unless the socket's own timeout comes first.
        late = connection.aborted or isinstance(error, TimeoutError)
        reason = f"no answer within {timeout_s:g} s" if late else f"{type(error).__name__}: {error}"
        raise UnreachableError(f"{host}: {reason}"[:300]) from None
    finally:
        alarm.cancel()
        connection.close()


class _Pinned(http.client.HTTPConnection):
    """A connection to an address that was checked; the name is for TLS and the Host header alone."""

    def __init__(self, address: Address, host: str, port: int, timeout_s: float, tls: ssl.SSLContext | None) -> None:
        super().__init__(host, port, timeout=timeout_s)
        self._address = address
        self._tls = tls
        self.aborted = False

    def connect(self) -> None:
        self.sock = socket.create_connection((str(self._address), self.port), self.timeout)
        # Head and body are two writes: without this the second waits for the acknowledgement of the first.
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.aborted:
            raise TimeoutError
        if self._tls is not None:
            # In two steps, so that the alarm finds the socket during the handshake too.
            wrapped = self._tls.wrap_socket(self.sock, server_hostname=self.host, do_handshake_on_connect=False)
            self.sock = wrapped
            wrapped.do_handshake()

    def abort(self) -> None:
        self.aborted = True
        if self.sock is not None:
            with contextlib.suppress(OSError):
                self.sock.shutdown(socket.SHUT_RDWR)


def _resolve(host: str, port: int, *, allow_private: bool) -> Address:
    """The first address of a name, if all that it has are public."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise UnreachableError(f"{host[:80]} has no address: {error}") from None
    addresses = [ip_address(str(each[4][0]).partition("%")[0]) for each in found]
    for address in addresses:
        _refuse_inside(address, allow_private=allow_private)
    return addresses[0]


def _refuse_inside(address: Address, *, allow_private: bool) -> None:
    inner: Address = address
    if isinstance(address, IPv6Address):
        # An IPv4 address in the clothes of IPv6 is judged as what it is: mapped, 6to4, Teredo, compatible, NAT64.
        last = IPv4Address(int(address) & 0xFFFFFFFF) if any(address in network for network in _ENDS_IN_IPV4) else None
        teredo = address.teredo[1] if address.teredo else None
        inner = address.ipv4_mapped or address.sixtofour or teredo or last or address
    if inner.is_link_local or inner.is_multicast or inner.is_unspecified or inner in _METADATA:
        raise ForbiddenError(f"{address} is a link-local, multicast or metadata address; it is never called")
    if (not inner.is_global or inner in _SITE_LOCAL) and not allow_private:
        raise ForbiddenError(
            f"{address} is no public address; an operator who wants it sets webhooks_allow_private in settings.toml"
        )
