"""`airserve lab profiles` and `import`, as commands."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from airserve.lab.link import Opportunities
from airserve.lab.link_files import load_link
from airserve.lab.profiles import names
from tests.conftest import AIRSERVE, airserve


def test_profiles_come_with_figures_and_source() -> None:
    rows = airserve("lab", "profiles", "--json")
    assert [row["profile"] for row in rows] == list(names())
    midband = next(row for row in rows if row["profile"] == "5g-nsa-midband")
    assert midband["up_mbps"][1] == pytest.approx(33.6, rel=0.15)
    assert "CoNEXT'25" in midband["source"]


def test_two_files_of_a_trace_become_one_link(tmp_path: Path) -> None:
    (tmp_path / "trip.up").write_text("1\n2\n")
    (tmp_path / "trip.down").write_text("1\n1\n")
    out = tmp_path / "trip.json"
    said = airserve(
        "lab",
        "import",
        str(tmp_path / "trip.up"),
        str(tmp_path / "trip.down"),
        "--out",
        str(out),
        "--json",
        "--rtt",
        "80",
    )
    assert said["rtt_ms"] == [80.0, 80.0, 80.0]
    link = load_link(out)
    assert (link.name, link.up.capacity) == ("trip", Opportunities((1, 2), 0.04))
    assert link.down.capacity == Opportunities((1, 1), 0.04)


def test_a_faulty_trace_ends_with_its_line_and_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "trip.up").write_text("1\nlate\n")
    out = tmp_path / "trip.json"
    done = subprocess.run(
        [AIRSERVE, "lab", "import", str(tmp_path / "trip.up"), "--format", "mahimahi", "--out", str(out)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 3
    assert "Line 2" in done.stderr
    assert not out.exists()
