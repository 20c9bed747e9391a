"""A whole experiment: a service, a link, a client, and what they leave."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from typer import Typer
from typer.testing import CliRunner

from airserve.cli import lab_run
from airserve.lab.emulation import missing

LACKS = missing()
pytestmark = [pytest.mark.server, pytest.mark.skipif(bool(LACKS), reason="; ".join(LACKS))]

CLIENT = """
import json, os, ssl, sys, time, urllib.request

trust = ssl.create_default_context(cafile=os.environ["AIRSERVE_CA"])
refused = False
try:
    urllib.request.urlopen(sys.argv[2] + "/v2/health/live", timeout=1).read()
except OSError:
    refused = True  # plaintext is for the machine itself
end = time.monotonic() + float(os.environ["AIRSERVE_SECONDS"])
while time.monotonic() < end:
    began, ok = time.monotonic(), True
    try:
        urllib.request.urlopen(sys.argv[1] + "/v2/health/live", context=trust, timeout=1).read()
    except OSError:
        ok = False
    ms = (time.monotonic() - began) * 1e3
    print(json.dumps({"t": began, "ms": ms, "ok": ok, "place": "cloud", "correct": refused}), flush=True)
"""
EXPERIMENT = """
name = "two links"
links = ["rate=20,rtt=40", "slow.json"]
seconds = 1.5
cuts = [{ at = 0.3, seconds = 0.4 }]

[service]
command = [
    "airserve", "up", "--no-demo", "--state-dir", "{state}", "--host", "{address}", "--port", "{port}",
    "--ready-file", "{ready}",
]

[[clients]]
name = "plain"
command = ["python", "client.py", "{url}", "{http_url}"]
"""


def test_an_experiment_leaves_tables_plots_and_how_to_repeat_it(tmp_path: Path) -> None:
    (tmp_path / "client.py").write_text(CLIENT)
    (tmp_path / "e.toml").write_text(EXPERIMENT)
    capacity = {"period_s": 9.0, "start_s": [0.0], "rate_bps": [2e7], "delay_s": [0.1]}
    slow = {"airserve_link": 1, "name": "slow", "source": "made for a test", "up": {"capacity": capacity}}
    (tmp_path / "slow.json").write_text(json.dumps({**slow, "down": slow["up"]}))
    app = Typer()
    lab_run.register(app)
    done = CliRunner().invoke(app, [str(tmp_path / "e.toml"), "--out", str(tmp_path / "out"), "--json"])
    assert done.exit_code == 0, done.output
    fast_row, slow_row = json.loads(done.stdout[done.stdout.index("[") :])
    # TCP's handshake, TLS's and the request take a round trip each; a cut of 0.4 s is waited for.
    assert fast_row["p50_ms"] >= 3 * 40
    assert slow_row["p50_ms"] >= 3 * 200
    assert fast_row["bytes_from"] == "link"
    assert fast_row["bytes_up"] > 500
    assert fast_row["cpu_ms"] > 0
    assert fast_row["accuracy"] == 1.0
    assert fast_row["outages"] == 1
    assert fast_row["after_outage_p50_s"] > 0
    with (tmp_path / "out" / "calls.csv").open() as file:
        calls = list(csv.DictReader(file))
    assert len(calls) == fast_row["calls"] + slow_row["calls"]
    assert all(float(call["t"]) >= 0 for call in calls)
    report = (tmp_path / "out" / "results.md").read_text()
    assert "made for a test" in report
    assert "seeds 0" in report
    for plot in ("latency", "bytes", "deadlines", "timeline-rate-20-rtt-40", "timeline-slow.json"):
        assert f"({plot}.png)" in report
        assert (tmp_path / "out" / f"{plot}.png").stat().st_size > 2000
