"""Who is at the other end of a connection that the front has passed on: the PROXY protocol, version 2.

Source: HAProxy, "The PROXY protocol, versions 1 & 2", §2.2. The front writes this head before the client's bytes.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from typing import NamedTuple

from airserve.core.errors import InvalidInputError

_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_HEAD = struct.Struct("!12sBBH")
_FIELD = struct.Struct("!BH")
_VERSION_2 = 0x20
_PROXIED = 0x01
_PORTS = 4
CERTIFICATE_FIELD = 0xE0
_TCP = {0x11: (socket.AF_INET, 4), 0x21: (socket.AF_INET6, 16)}
"""The family byte of TCP over IPv4 and of TCP over IPv6, and the bytes of an address."""


class Head(NamedTuple):
    """What the front tells: the client's address, its certificate (percent-encoded PEM), and the head's length.

    Address and certificate are empty for a connection of the front's own, and where there is none.
    """

    client: str
    certificate: str
    length: int


def read_head(data: bytes) -> Head | None:
    """The head that `data` begins with, None while it is not whole; `InvalidInputError` for any other beginning."""
    if not _SIGNATURE.startswith(data[: len(_SIGNATURE)]):
        raise InvalidInputError("this socket is the front's own: a connection begins with a PROXY protocol v2 head")
    if len(data) < _HEAD.size:
        return None
    _, version_command, family, length = _HEAD.unpack_from(data)
    end = _HEAD.size + length
    if version_command & 0xF0 != _VERSION_2:
        raise InvalidInputError("this is a PROXY protocol head of an unknown version")
    if len(data) < end:
        return None
    if family not in _TCP or version_command & 0x0F != _PROXIED:
        return Head("", "", end)
    kind, size = _TCP[family]
    if length < 2 * size + _PORTS:
        raise InvalidInputError("this PROXY protocol head is too short for its addresses")
    client = plain_address(socket.inet_ntop(kind, data[_HEAD.size : _HEAD.size + size]))
    return Head(client, _certificate(data[_HEAD.size + 2 * size + _PORTS : end]), end)


def _certificate(fields: bytes) -> str:
    """The value of our own field (§2.2.7 leaves 0xE0 to 0xEF to those who agree on them), empty where there is none."""
    while len(fields) >= _FIELD.size:
        kind, length = _FIELD.unpack_from(fields)
        if kind == CERTIFICATE_FIELD:
            return fields[_FIELD.size : _FIELD.size + length].decode("latin-1")
        fields = fields[_FIELD.size + length :]
    return ""


def plain_address(text: str) -> str:
    """An address as people write it: one of IPv4 that came over an IPv6 socket (::ffff:…) is one of IPv4."""
    if not text.startswith("::ffff:"):
        return text
    mapped = ipaddress.IPv6Address(text).ipv4_mapped
    return text if mapped is None else str(mapped)
