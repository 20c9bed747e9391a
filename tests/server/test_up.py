from __future__ import annotations

import json
import shlex
import socket
import ssl
import stat
import subprocess
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from airserve import Client
from airserve.cli.first_start import EXAMPLE_EIGHT
from airserve.core.errors import OverloadedError, UnreachableError
from tests.conftest import AIRSERVE, Service, airserve, publish, start_service

EIGHT = np.array([EXAMPLE_EIGHT], np.float32)


@pytest.mark.parametrize("http", ["1.1", "2", "3", "auto"])
def test_the_demo_model_reads_an_eight_over_every_protocol(service: Service, http: str) -> None:
    ready = service.ready
    with Client(ready["url"], ready["key"], ca=ready["ca"], http=http) as client:  # type: ignore[arg-type]
        outputs = client.infer("digits", {"x": EIGHT})
        assert outputs["label"].tolist() == [b"8"]
        assert outputs["probabilities"].shape == (1, 10)
        assert client.last is not None
        assert 0 < client.last.total_ms <= client.last.round_trip_ms


def test_the_printed_curl_line_works_as_pasted(tmp_path: Path) -> None:
    service = start_service(tmp_path / "state", first=True)
    try:
        printed = (tmp_path / "state.log").read_text()
        (line,) = [line for line in printed.splitlines() if line.startswith("curl ")]
        assert "--http2" in line
        answer = subprocess.run(shlex.split(line), capture_output=True, check=True, timeout=20).stdout
        assert json.loads(answer)["outputs"][0]["data"] == ["8"]
        mode = stat.S_IMODE((tmp_path / "state" / "credentials.json").stat().st_mode)
        assert mode == 0o600
    finally:
        assert service.stop() == 0


def test_plaintext_tls_and_quic_share_one_port(service: Service) -> None:
    port = int(service.ready["url"].rsplit(":", 1)[1])
    assert service.ready["http_url"] == f"http://127.0.0.1:{port}"
    context = ssl.create_default_context(cafile=service.ready["ca"])
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(("127.0.0.1", port)) as tcp,
        context.wrap_socket(tcp, server_hostname="localhost") as tls,
    ):
        assert tls.selected_alpn_protocol() == "h2"
        assert tls.version() == "TLSv1.3"


def test_http3_is_announced_to_clients_of_the_other_protocols(service: Service) -> None:
    context = ssl.create_default_context(cafile=service.ready["ca"])
    port = service.ready["url"].rsplit(":", 1)[1]
    with urllib.request.urlopen(f"{service.ready['url']}/v2/health/live", context=context) as response:
        assert f'h3=":{port}"' in response.headers["alt-svc"]


@pytest.mark.parametrize("http", ["--http1.1", "--http2"])
def test_head_is_get_without_the_body(service: Service, http: str) -> None:
    ready = service.ready
    curl = ["curl", "-sS", "--fail", http, "--cacert", ready["ca"], "-H", f"Authorization: Bearer {ready['key']}"]
    url = f"{ready['url']}/v2/models/digits"
    whole = subprocess.run([*curl, "-D", "-", url], capture_output=True, check=True, timeout=20).stdout
    head = subprocess.run([*curl, "--head", url], capture_output=True, check=True, timeout=20).stdout
    assert b"digits" in whole.partition(b"\r\n\r\n")[2]
    assert not head.partition(b"\r\n\r\n")[2]
    assert _length(head) == _length(whole) > 0


def _length(answer: bytes) -> int:
    (line,) = [line for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return int(line.partition(b":")[2])


def test_a_second_service_on_the_same_state_is_refused_and_the_first_goes_on(service: Service) -> None:
    again = [AIRSERVE, "up", "--state-dir", str(service.state_dir), "--port", "0"]
    done = subprocess.run(again, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    with Client(service.url, service.key) as client:
        assert client.ready()


def test_a_taken_port_is_named(tmp_path: Path, service: Service) -> None:
    port = service.ready["url"].rsplit(":", 1)[1]
    done = subprocess.run(
        [AIRSERVE, "up", "--state-dir", str(tmp_path / "s"), "--port", port, "--no-demo"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 3
    assert f"port {port}" in done.stderr


def test_sigterm_lets_accepted_calls_finish_and_refuses_new_ones(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from tests.models_for_tests import save_slow

    publish(tmp_path / "state", {"slow": save_slow(tmp_path / "slow.onnx")})
    service = start_service(tmp_path / "state", "--no-demo")
    with ThreadPoolExecutor(8) as pool, Client(service.url, service.key, retries=0) as client:
        calls = [pool.submit(client.infer, "slow", {"x": np.ones(1, np.float32)}) for _ in range(8)]
        time.sleep(0.1)
        service.process.terminate()
        time.sleep(0.05)
        with pytest.raises((OverloadedError, UnreachableError)):
            for _ in range(200):
                client.infer("slow", {"x": np.ones(1, np.float32)})
        assert [float(call.result()["y"]) for call in calls] == [1.0] * 8
    assert service.process.wait(60) == 0
    rows = airserve("usage", "--state-dir", str(tmp_path / "state"), "--json")
    assert sum(row["ok"] for row in rows) >= 8


def test_when_the_supervisor_is_killed_its_port_and_journal_are_free_again(tmp_path: Path) -> None:
    service = start_service(tmp_path / "state", "--no-demo")
    service.process.kill()
    service.process.wait(10)
    again = start_service(tmp_path / "state", "--no-demo", "--port", service.ready["url"].rsplit(":", 1)[1])
    assert again.ready["key"] == service.ready["key"]
    assert again.stop() == 0
