"""A recording against a real service on loopback."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer import Typer
from typer.testing import CliRunner

from airserve.cli import lab_traces
from airserve.core.errors import ForbiddenError, InvalidInputError, MissingKeyError, UnreachableError
from airserve.lab.link_files import load_link
from airserve.lab.profile_table import row
from airserve.lab.record import Budget, Recorder, record
from tests.conftest import Service

pytestmark = pytest.mark.server


def test_a_link_is_recorded_and_nothing_is_billed(service: Service, tmp_path: Path) -> None:
    before = service.run("usage")
    app = Typer()
    app.callback()(lambda: None)
    lab_traces.register(app)
    out = tmp_path / "here.json"
    arguments = ["record", service.url, "--key", service.key, "--ca", str(service.ready["ca"]), "--out", str(out)]
    done = CliRunner().invoke(app, [*arguments, "--seconds", "1.5", "--json"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    figures = row(load_link(out))
    assert figures["up_mbps"] == said["up_mbps"]
    assert figures["up_mbps"][0] > 1
    assert figures["down_mbps"][0] > 1
    assert 0 < figures["rtt_ms"][1] < 1000
    assert service.run("usage") == before
    again = CliRunner().invoke(app, [*arguments, "--seconds", "1.5"])
    assert again.exit_code != 0


def test_a_recording_stops_when_its_bytes_are_used_up(service: Service) -> None:
    made = record(Recorder(str(service.ready["http_url"]), service.key, "digits"), Budget(60.0, 200_000))
    assert len(made.trace.samples) == 1
    assert made.sent_bytes + made.received_bytes < 1_500_000


def test_a_recording_says_why_it_cannot_begin(service: Service) -> None:
    budget = Budget(1.0, 10**6)
    with pytest.raises(UnreachableError):
        record(Recorder("http://127.0.0.1:9", "key", "digits"), budget)
    with pytest.raises(MissingKeyError):
        record(Recorder(str(service.ready["http_url"]), "no-key", "digits"), budget)
    with pytest.raises(ForbiddenError, match="--model"):
        record(Recorder(str(service.ready["http_url"]), service.key, "no-such-model"), budget)
    with pytest.raises(InvalidInputError):
        Recorder("ftp://here", "key", "digits")
