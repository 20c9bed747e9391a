from __future__ import annotations

import os
import re
import socket
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from airserve.accounts.key_format import KeyKind, new_key
from airserve.server.guesses import Guesses
from tests.conftest import Service
from tests.server.processes import family_of
from tests.server.test_http1 import introduction
from tests.server.wire import infer

SECOND = 1_000_000_000


def test_a_burst_is_answered_as_it_is_and_then_one_each_second() -> None:
    guesses = Guesses(burst=3)
    assert [guesses.count("192.0.2.7", 0) for _ in range(3)] == [None] * 3
    refused = guesses.count("192.0.2.7", 0)
    assert refused is not None
    assert refused.retry_after == 1
    assert guesses.count("192.0.2.8", 0) is None
    assert guesses.count("192.0.2.7", SECOND) is None
    assert guesses.count("192.0.2.7", SECOND) is not None
    assert [guesses.count("192.0.2.7", 100 * SECOND) for _ in range(3)] == [None] * 3


def test_addresses_cannot_grow_it_and_those_seen_last_stay() -> None:
    guesses = Guesses(burst=1, addresses=100)
    for number in range(100_000):
        guesses.count(f"2001:db8::{number:x}", 0)
        assert guesses.count("192.0.2.7", 0) is None or number
    assert len(guesses) == 100
    assert guesses.count("192.0.2.7", 0) is not None


def test_the_machines_own_addresses_are_free() -> None:
    guesses = Guesses(burst=1)
    assert not any(guesses.count(address, 0) for address in ("127.0.0.1", "::1", "") for _ in range(100))


@given(st.lists(st.integers(0, 3 * SECOND), max_size=60))
def test_whoever_waits_as_long_as_told_is_answered(steps: list[int]) -> None:
    guesses, now = Guesses(burst=2), 0
    for step in steps:
        now += step
        refused = guesses.count("192.0.2.7", now)
        if refused is not None:
            now += int((refused.retry_after or 0) * SECOND) + 1
            assert guesses.count("192.0.2.7", now) is None


def test_who_tries_keys_is_told_to_wait_and_a_good_key_never_is(service: Service) -> None:
    statuses = [ask(service, new_key(KeyKind.TENANT, os.urandom)) for _ in range(60)]
    assert statuses[:50] == [401] * 50
    assert set(statuses[55:]) == {429}
    assert ask(service, new_key(KeyKind.TENANT, os.urandom), "/v1/models") == 429
    assert ask(service, service.key) == 200
    assert ask(service, new_key(KeyKind.TENANT, os.urandom), address="203.0.113.2") == 401
    assert infer(service).status == 200


def ask(service: Service, key: str, path: str = "/v2", address: str = "203.0.113.1") -> int:
    """The status for a client at `address`, by the socket over which the front passes connections on."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(sockets_of(service) / "http1-tls.sock"))
        connection.sendall(introduction(address))
        connection.sendall(f"GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n\r\n".encode())
        head = connection.recv(65536)
    status = int(head.split()[1])
    assert (status == 429) == (re.search(rb"retry-after: [1-9]", head) is not None)
    return status


def sockets_of(service: Service) -> Path:
    for pid in family_of(service.process.pid):
        found = re.search(rb"AIRSERVE_RUN_SOCKETS=([^\0]+)", Path(f"/proc/{pid}/environ").read_bytes())
        if found:
            return Path(found[1].decode())
    raise AssertionError("no process of the service knows its sockets")
