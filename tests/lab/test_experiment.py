"""Experiments as files."""

from __future__ import annotations

from pathlib import Path

import pytest

from airserve.core.errors import InvalidInputError, NotFoundError
from airserve.lab.call_lines import CallLine, parse_line
from airserve.lab.experiment import filled, narrowed, read_experiment

GOOD = """
links = ["lte", "rate=10"]
[[clients]]
name = "a"
command = ["true"]
[[clients]]
name = "b"
command = ["true"]
"""


def _write(folder: Path, text: str) -> Path:
    (folder / "e.toml").write_text(text)
    return folder / "e.toml"


def test_an_experiment_can_be_narrowed(tmp_path: Path) -> None:
    experiment = read_experiment(_write(tmp_path, GOOD)).experiment
    assert [client.name for client in narrowed(experiment, [], ["b"]).clients] == ["b"]
    assert narrowed(experiment, ["lte"], []).links == ("lte",)
    with pytest.raises(InvalidInputError, match="no client 'c'"):
        narrowed(experiment, [], ["c"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD.replace('"b"', '"a"'), "once"),
        (GOOD + "\ncolour = 1", "colour"),
        ("links = []\nclients = []", "at least one"),
        ("links = [", "no experiment"),
        ("seconds = 0\n" + GOOD, "seconds"),
        ("repeats = 0\n" + GOOD, "repeats"),
        ("cuts = [{at = 1, seconds = 0}]\n" + GOOD, "cut"),
        (GOOD.replace('["true"]', "[]"), "word"),
    ],
)
def test_a_broken_experiment_is_refused_with_what_is_wrong(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=said):
        read_experiment(_write(tmp_path, text))


def test_an_experiment_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        read_experiment(tmp_path / "none.toml")


def test_only_known_braces_of_a_command_are_filled() -> None:
    assert filled(("run", "{url}/x", '{"a": 1}'), {"url": "https://h"}) == ["run", "https://h/x", '{"a": 1}']


def test_a_client_may_print_more_than_its_calls() -> None:
    assert parse_line(b"warming up\n") is None
    assert parse_line(b'{"t": 3.5, "ms": 12, "ok": false, "codec": "zstd", "more": 1}\n') == CallLine(
        12.0, ok=False, t=3.5, codec="zstd"
    )
    for line in (b'{"ok": true}', b'{"ms": -1}', b'{"ms": "fast"}', b"{"):
        with pytest.raises(InvalidInputError):
            parse_line(line)
