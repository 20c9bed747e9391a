"""Segments that are there twice, in another order or of another node: every call is counted once all the same."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from airserve.metering.event import decode_event
from airserve.metering.journal import Journal
from airserve.metering.journal_format import SegmentName
from airserve.metering.ledger import fold
from airserve.metering.postings import REVENUE, balance
from airserve.metering.segments import Mark, frames_after, segments_of
from airserve.storage import Database, tables

CALLS = [str(number) for number in range(20)]


def write_journal(folder: Path, make_event: Any, node: str = "n", calls: list[str] = CALLS) -> list[Path]:
    """Twenty calls in four segments of five; the segments."""
    journal = Journal.open(folder, node, segment_bytes=350)
    for call in calls:
        journal.append([make_event(id=call, amount_nano=7)])
    journal.close()
    return [folder / str(segment) for segment in segments_of(folder) if segment.node_id == node]


def calls_of(database: Database) -> list[str]:
    events = tables.usage_events.c
    with database.read() as connection:
        assert balance(connection, REVENUE, "EUR") == -7 * connection.scalar(sa.select(sa.func.count(events.id)))
        found = connection.scalars(sa.select(events.id).order_by(events.node_id, events.epoch, events.lsn))
        return [each.partition("/")[2] for each in found]


@pytest.mark.parametrize("folded_before", [False, True])
def test_a_segment_that_is_there_twice_is_counted_once(
    database: Database, tmp_path: Path, make_event: Any, folded_before: bool
) -> None:
    paths = write_journal(tmp_path / "j", make_event)
    shutil.copy(paths[-1], tmp_path / "j" / str(SegmentName("n", 1, len(paths))))
    if folded_before:
        fold(database, tmp_path / "j")
    shutil.copy(paths[1], tmp_path / "j" / str(SegmentName("n", 1, len(paths) + 1)))
    fold(database, tmp_path / "j")
    fold(database, tmp_path / "j")
    assert calls_of(database) == CALLS


def test_segments_whose_names_were_exchanged_at_any_moment_are_read_in_the_order_in_which_they_were_written(
    tmp_path: Path, make_event: Any
) -> None:
    paths = write_journal(tmp_path, make_event)
    assert len(paths) == 4
    contents = [path.read_bytes() for path in paths]
    for order in itertools.permutations(range(4)):
        for read_before in range(len(CALLS) + 1):
            for path, content in zip(paths, contents, strict=True):
                path.write_bytes(content)
            mark, _ = read(tmp_path, Mark(), read_before)
            assert mark.lsn == read_before
            for path, number in zip(paths, order, strict=True):
                path.write_bytes(contents[number])
            assert read(tmp_path, mark, len(CALLS))[1] == CALLS[read_before:], (order, read_before)


def read(folder: Path, mark: Mark, at_most: int) -> tuple[Mark, list[str]]:
    """Read on from `mark`, some frames at a time, as the fold does."""
    calls: list[str] = []
    while len(calls) < at_most:
        segment, frames = frames_after(folder, segments_of(folder), mark)
        if not frames:
            break
        taken = frames[: at_most - len(calls)]
        calls += [decode_event(frame.payload).id for frame in taken]
        mark = Mark(segment.seq, taken[-1].end, taken[-1].lsn)
    return mark, calls


def test_a_segment_of_another_node_is_counted_as_that_nodes_and_once(
    database: Database, tmp_path: Path, make_event: Any
) -> None:
    write_journal(tmp_path / "a", make_event, "a", CALLS[:10])
    others = write_journal(tmp_path / "b", make_event, "b", CALLS[10:])
    shutil.copy(others[0], tmp_path / "a")
    fold(database, tmp_path / "a")
    fold(database, tmp_path / "b")
    fold(database, tmp_path / "a")
    assert calls_of(database) == CALLS


def test_another_nodes_segment_under_our_name_does_not_stand_in_for_ours(
    database: Database, tmp_path: Path, make_event: Any
) -> None:
    ours = write_journal(tmp_path / "a", make_event, "a", CALLS[:10])
    others = write_journal(tmp_path / "b", make_event, "b", CALLS[10:])
    shutil.copy(others[0], tmp_path / "a" / str(SegmentName("a", 1, len(ours))))
    fold(database, tmp_path / "a")
    fold(database, tmp_path / "b")
    assert calls_of(database) == CALLS


def test_damage_in_one_journal_does_not_keep_the_calls_of_others_out_of_the_ledger(
    database: Database, tmp_path: Path, make_event: Any
) -> None:
    damaged = write_journal(tmp_path / "j", make_event, "a", CALLS[:10])
    write_journal(tmp_path / "j", make_event, "b", CALLS[10:])
    damaged[0].write_bytes(b"\0" + damaged[0].read_bytes()[1:])
    with pytest.raises(Exception, match="holds no sound frame at offset 0"):
        fold(database, tmp_path / "j")
    assert calls_of(database) == CALLS[10:]
