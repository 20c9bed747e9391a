"""What is kept of unfinished work: whole files alone, each of which is made once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from airserve.models.optimise.family import Round
from airserve.models.optimise.work import Work, digest_of, work_key

ROUND = Round(threads=1, latencies_ms=[1.5, 2.0], rows_per_s={1: 500.0, 4: 900.0}, memory_bytes=7)


def never() -> None:
    raise AssertionError("it was kept, and is made again")


def test_a_file_that_was_made_is_not_made_again_and_half_a_file_is_none(tmp_path: Path) -> None:
    item = Work(tmp_path, "key").item("slim", 1, ".onnx")

    def breaks(target: Path) -> None:
        target.write_bytes(b"half")
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        item.make(breaks)
    assert list(item.folder.iterdir()) == []
    assert item.make(lambda target: target.write_bytes(b"whole")).read_bytes() == b"whole"  # type: ignore[arg-type,return-value]
    assert item.make(lambda _: never()).read_bytes() == b"whole"


def test_answers_and_rounds_come_back_as_they_were(tmp_path: Path) -> None:
    item = Work(tmp_path, "key").item("slim", 1, ".onnx")
    # Names that archives of NumPy would stumble over.
    answers = {"file": np.arange(6.0).reshape(2, 3), "a/b": np.array([True, False])}
    item.answers(lambda: answers)
    kept = item.answers(lambda: never())  # type: ignore[arg-type,return-value]
    assert kept.keys() == answers.keys() and all(np.array_equal(kept[name], answers[name]) for name in answers)
    assert item.round(0, lambda: ROUND) == item.round(0, lambda: never()) == ROUND  # type: ignore[arg-type,return-value]


def test_to_begin_anew_is_to_forget_and_what_was_killed_is_swept(tmp_path: Path) -> None:
    work = Work(tmp_path, "key")
    work.item("slim", 1, ".onnx").round(0, lambda: ROUND)
    (work.folder / "making-left").mkdir()
    assert {each.name for each in Work(tmp_path, "key").folder.iterdir()} == {"slim-1.0.json"}
    assert list(Work(tmp_path, "key", fresh=True).folder.iterdir()) == []


def test_another_sample_is_another_piece_of_work() -> None:
    words = np.empty(1, object)
    words[0] = b"ab"
    others = np.empty(1, object)
    others[0] = b"a"
    rows = [{"x": np.zeros((1, 4), np.float32)}]
    digests = {
        digest_of(rows), digest_of([*rows, *rows]), digest_of([{"x": np.zeros((1, 4))}]), digest_of([{"x": words}]),
        digest_of([{"x": others}]), digest_of(rows, np.array([1])), digest_of(rows, np.array([2])),
    }  # fmt: skip
    assert len(digests) == 7
    assert work_key(["a", "bc"]) != work_key(["ab", "c"])
