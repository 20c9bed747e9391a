"""Who speaks plaintext with a service that listens on an address of its own."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from airserve.lab.constant_link import constant_link
from airserve.lab.emulation import Emulation, missing
from airserve.server.front import _own_addresses
from tests.conftest import AIRSERVE, copy_first_state

LOOPBACK = [("127.0.0.0", 8), ("::1", 128)]
_ASK = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=20) as plain:
    plain.sendall(b"GET /v2/health/live HTTP/1.1\\r\\nhost: x\\r\\n\\r\\n")
    try:
        print(plain.recv(65536)[:12].decode())
    except ConnectionError:
        print("")
"""


@pytest.mark.parametrize(
    ("host", "beside"),
    [
        ("127.0.0.1", []),
        ("::1", []),
        ("0.0.0.0", []),
        ("::", []),
        ("localhost", []),
        ("10.0.0.7", [("10.0.0.7", 32)]),
        ("2001:db8::7", [("2001:db8::7", 128)]),
        # On another link somebody else may have it.
        ("fe80::7", []),
        ("fe80::7%eth0", []),
        ("169.254.0.7", []),
    ],
)
def test_this_machine_is_its_loopback_and_the_one_address_that_it_listens_on(
    host: str, beside: list[tuple[str, int]]
) -> None:
    assert [(each["address_prefix"], each["prefix_len"]) for each in _own_addresses(host)] == [*LOOPBACK, *beside]


@pytest.mark.filterwarnings("ignore::airserve.lab.emulation.EmulationWarning")
def test_plaintext_on_an_address_of_its_own_is_for_the_machine_that_has_it(tmp_path: Path) -> None:
    if reasons := missing():
        pytest.skip("; ".join(reasons))
    copy_first_state(tmp_path / "state")
    ready = tmp_path / "ready.json"
    with Emulation(constant_link("rate=50,rtt=10,queue=100"), seed=1) as emulation, contextlib.ExitStack() as stack:
        address = emulation.cloud_address
        command = [AIRSERVE, "up", "--state-dir", tmp_path / "state", "--host", address, "--port", "0",
                   "--ready-file", ready]  # fmt: skip
        log = stack.enter_context((tmp_path / "log").open("wb"))
        service = emulation.cloud.popen(command, stdout=log, stderr=log, env=dict(os.environ))
        stack.callback(_end, service)
        end = time.monotonic() + 60
        while not ready.exists():
            assert service.poll() is None, (tmp_path / "log").read_text()[-2000:]
            assert time.monotonic() < end
            time.sleep(0.05)
        port = json.loads(ready.read_text())["url"].rpartition(":")[2]
        ask = [sys.executable, "-I", "-c", _ASK, address, port]
        assert emulation.cloud.run(ask, timeout=30).stdout.strip() == "HTTP/1.1 200"
        assert emulation.device.run(ask, timeout=30).stdout.strip() == ""


def _end(service: subprocess.Popen[bytes]) -> None:
    service.terminate()
    service.wait(30)
