from __future__ import annotations

import asyncio
import os
import signal
import socket
from pathlib import Path

import pytest

from airserve.server import supervisor
from airserve.server.front import free_port
from airserve.server.settings import load_settings
from tests.conftest import copy_first_state


def test_a_port_that_another_took_in_the_meantime_is_replaced_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy_first_state(tmp_path / "state")
    settings = load_settings(tmp_path / "state").model_copy(update={"port": 0})
    addresses: list[supervisor.Address] = []

    def ready(address: supervisor.Address) -> None:
        addresses.append(address)
        os.kill(os.getpid(), signal.SIGTERM)

    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        found = [taken]
        # It was free when it was looked for.
        monkeypatch.setattr(supervisor, "free_port", lambda host: found.pop() if found else free_port(host))
        assert asyncio.run(supervisor.serve(settings, ready)) == 0
    assert not found
    (address,) = addresses
    assert not address.url.endswith(f":{taken}")
