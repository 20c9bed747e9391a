"""A cell of the experiments from end to end: a service, a link, a client, and what is kept of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.link.cells import Settings, forget, kept_runs, run_cell

from airserve.lab.emulation import missing
from benchmarks.link import cells, figures

LACKS = missing()
LINK = "rate=20,rtt=20"


@pytest.mark.server
@pytest.mark.skipif(bool(LACKS), reason="; ".join(LACKS))
def test_a_client_asks_over_a_link_and_the_runs_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "CACHE", tmp_path)
    settings = Settings(1.0, cut=False)
    (run,) = run_cell("sensor", LINK, ["ours"], settings)
    assert run.fault is None
    row = figures.row([run])
    # A frame each 50 ms; one or two are lost where the machine is slow to start the client.
    assert 15 <= row.frames <= 21
    assert row.correct == 1.0
    assert row.asked > 0
    assert kept_runs("sensor", LINK, settings) == {"ours": run}
    # What was run is not run again, but for who asks for it.
    assert run_cell("sensor", LINK, ["ours"], settings) == [run]
    forget("sensor", LINK, ["ours"], settings)
    assert kept_runs("sensor", LINK, settings) == {}


def test_a_feature_that_is_off_becomes_an_option_of_the_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "CACHE", tmp_path)
    words = cells.command("ours without codecs", "sensor")
    assert words[1:] == [
        "-m",
        "benchmarks.link.clients.ours",
        "sensor",
        str(tmp_path / "sensor"),
        "--without",
        "codecs",
    ]
    assert cells.command("triton grpc", "text")[2] == "benchmarks.link.clients.triton_grpc"
