from __future__ import annotations

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airserve.core.errors import InvalidInputError
from airserve.server.proxy_protocol import plain_address, read_head

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def head(family: int, addresses: bytes, *, command: int = 0x21, extra: bytes = b"") -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(addresses + extra)) + addresses + extra


def addresses(text: str) -> tuple[int, bytes]:
    kind, family = (socket.AF_INET6, 0x21) if ":" in text else (socket.AF_INET, 0x11)
    return family, socket.inet_pton(kind, text) * 2 + struct.pack("!HH", 1000, 443)


@pytest.mark.parametrize(
    ("sent", "known"),
    [("192.0.2.7", "192.0.2.7"), ("2001:db8::1", "2001:db8::1"), ("::ffff:192.0.2.7", "192.0.2.7"), ("::1", "::1")],
)
def test_the_address_is_read_and_what_follows_is_the_clients(sent: str, known: str) -> None:
    whole = head(*addresses(sent), extra=b"\x04\0\1x")
    assert read_head(whole + b"GET /") == (known, "", len(whole))
    assert all(read_head(whole[:end]) is None for end in range(len(whole)))


def test_the_certificate_is_found_among_other_fields() -> None:
    fields = b"\x04\0\1x" + b"\xe0\0\4cert" + b"\x04\0\0"
    whole = head(*addresses("192.0.2.7"), extra=fields)
    assert read_head(whole) == ("192.0.2.7", "cert", len(whole))


def test_a_connection_of_the_fronts_own_has_no_client() -> None:
    assert read_head(head(0, b"", command=0x20)) == ("", "", 16)
    assert read_head(head(0x31, b"\0" * 216)) == ("", "", 232)


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n", head(0x11, b"\0" * 11), head(*addresses("::1"), command=0x31)])
def test_any_other_beginning_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidInputError, match="PROXY"):
        read_head(data)


@given(st.binary(max_size=300).map(lambda rest: SIGNATURE + rest) | st.binary(max_size=20))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        found = read_head(data)
    except InvalidInputError:
        return
    assert found is None or 16 <= found.length <= len(data)


def test_an_address_that_only_looks_mapped_stays() -> None:
    assert plain_address("::ffff:0:0:1") == "::ffff:0:0:1"
