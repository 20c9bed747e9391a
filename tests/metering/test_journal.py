from __future__ import annotations

import contextlib
import errno
import itertools
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from airserve.core.errors import ConflictError, DamagedJournalError, InvalidInputError, OverloadedError
from airserve.metering.event import UsageEvent, decode_event
from airserve.metering.journal import Durability, Journal
from airserve.metering.journal_format import HEADER_BYTES, SegmentName
from airserve.metering.segments import read_batches, segments_of


def ids_of(folder: Path) -> list[str]:
    """The id of every event in every whole batch of the folder, in the order of node, epoch and segment."""
    ids: list[str] = []
    epoch, lsn = ("", 0), 1
    for segment in segments_of(folder):
        if epoch != (segment.node_id, segment.epoch):
            epoch, lsn = (segment.node_id, segment.epoch), 1
        offset = 0
        while frames := read_batches(folder, segment, offset, lsn, last=True):
            ids += [decode_event(frame.payload).id for frame in frames]
            offset, lsn = frames[-1].end, frames[-1].lsn + 1
    return ids


def events(make_event: Any, *ids: str) -> list[UsageEvent]:
    return [make_event(id=each) for each in ids]


def test_what_was_appended_is_in_the_file_when_append_returns(tmp_path: Path, make_event: Any) -> None:
    journal = Journal.open(tmp_path, "n")
    journal.append(events(make_event, "a", "b"))
    journal.append([])
    journal.append(events(make_event, "c"))
    assert ids_of(tmp_path) == ["a", "b", "c"]
    journal.close()


def test_each_start_is_a_new_epoch_above_the_files_and_above_what_the_ledger_has_seen(tmp_path: Path) -> None:
    for after, epoch in ((0, 1), (0, 2), (7, 8), (0, 9)):
        journal = Journal.open(tmp_path, "n", after_epoch=after)
        assert journal.epoch == epoch
        journal.close()
    other = Journal.open(tmp_path, "another-node")
    assert other.epoch == 1
    other.close()


def test_a_node_has_one_writer_at_a_time(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path, "n")
    with pytest.raises(ConflictError, match="another process"):
        Journal.open(tmp_path, "n")
    Journal.open(tmp_path, "m").close()
    journal.close()
    Journal.open(tmp_path, "n").close()


def test_a_closed_journal_refuses_and_closes_twice(tmp_path: Path, make_event: Any) -> None:
    journal = Journal.open(tmp_path, "n")
    journal.close()
    journal.close()
    with pytest.raises(OverloadedError, match="stopping"):
        journal.append(events(make_event, "a"))


@pytest.mark.parametrize("durability", list(Durability))
def test_segments_rotate_by_size_and_are_read_in_order(tmp_path: Path, make_event: Any, durability: Durability) -> None:
    journal = Journal.open(tmp_path, "n", segment_bytes=1000, durability=durability)
    ids = [f"call-{number}" for number in range(60)]
    for each in ids:
        journal.append(events(make_event, each))
    journal.sync()
    assert len(segments_of(tmp_path)) > 3
    assert ids_of(tmp_path) == ids
    journal.close()


@pytest.mark.parametrize("durability", list(Durability))
def test_threads_append_at_the_same_time_and_nothing_is_lost_or_torn(
    tmp_path: Path, make_event: Any, durability: Durability
) -> None:
    journal = Journal.open(tmp_path, "n", segment_bytes=20_000, durability=durability, group_ms=1)

    def work(thread: int) -> None:
        for number in range(40):
            journal.append(events(make_event, f"{thread}-{number}-a", f"{thread}-{number}-b"))

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    journal.close()
    found = ids_of(tmp_path)
    assert sorted(found) == sorted(f"{t}-{n}-{s}" for t in range(4) for n in range(40) for s in "ab")
    assert all(second == first[:-1] + "b" for first, second in zip(found[::2], found[1::2], strict=True))


def test_a_bad_event_refuses_its_batch_and_writes_nothing(tmp_path: Path, make_event: Any) -> None:
    journal = Journal.open(tmp_path, "n")
    with pytest.raises(InvalidInputError):
        journal.append([make_event(id="good"), make_event(id="bad\0")])
    journal.append(events(make_event, "next"))
    journal.close()
    assert ids_of(tmp_path) == ["next"]


def test_a_torn_tail_is_left_alone_at_the_next_start_and_the_new_epoch_goes_on(tmp_path: Path, make_event: Any) -> None:
    journal = Journal.open(tmp_path, "n")
    journal.append(events(make_event, "a"))
    journal.append(events(make_event, "b"))
    journal.close()
    path = tmp_path / str(SegmentName("n", 1, 0))
    os.truncate(path, path.stat().st_size - 3)
    journal = Journal.open(tmp_path, "n")
    journal.append(events(make_event, "c"))
    journal.close()
    assert ids_of(tmp_path) == ["a", "c"]


def test_a_bad_frame_before_good_ones_stops_the_start_and_names_segment_and_offset(
    tmp_path: Path, make_event: Any
) -> None:
    journal = Journal.open(tmp_path, "n")
    journal.append(events(make_event, "a"))
    end = (tmp_path / str(SegmentName("n", 1, 0))).stat().st_size
    journal.append(events(make_event, "b"))
    journal.append(events(make_event, "c"))
    journal.close()
    path = tmp_path / str(SegmentName("n", 1, 0))
    data = bytearray(path.read_bytes())
    data[end + HEADER_BYTES + 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedJournalError, match=rf"n-00000001-00000000\.wal .*offset {end}\b.*backup"):
        Journal.open(tmp_path, "n")
    path.unlink()
    Journal.open(tmp_path, "n").close()


def no_longer(*_: object) -> None:
    raise OSError(errno.EIO, "Input/output error")


def test_a_disk_that_fails_to_sync_refuses_the_calls_and_the_journal_goes_on_in_a_new_epoch(
    tmp_path: Path, make_event: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal.open(tmp_path, "n", durability="power")
    journal.append(events(make_event, "a"))
    with monkeypatch.context() as broken:
        broken.setattr(os, "fdatasync", no_longer)
        with pytest.raises(OverloadedError, match="see to the disk"):
            journal.append(events(make_event, "b"))
    journal.append(events(make_event, "c"))
    assert journal.epoch == 2
    journal.close()
    # "b" was written before the disk failed: like a process killed between record and answer.
    assert ids_of(tmp_path) == ["a", "b", "c"]


def test_a_failed_write_that_cannot_be_cut_back_does_not_count_either(
    tmp_path: Path, make_event: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal.open(tmp_path, "n")
    journal.append(events(make_event, "a"))
    write = os.write
    written = iter([100])

    def half(fd: int, data: bytes) -> int:
        for size in written:
            return write(fd, data[:size])
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(os, "write", half)
        broken.setattr(os, "ftruncate", no_longer)
        with pytest.raises(OverloadedError, match="usage cannot be recorded"):
            journal.append(events(make_event, "b", "c"))
    journal.append(events(make_event, "d"))
    journal.close()
    assert (journal.epoch, ids_of(tmp_path)) == (2, ["a", "d"])


def wait_until_admitted(journal: Journal) -> None:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            journal.admit()
        except OverloadedError:
            time.sleep(0.02)
        else:
            return
    raise AssertionError("the journal did not recover within ten seconds")


def test_on_a_full_disk_calls_in_flight_are_recorded_and_new_ones_refused_until_there_is_room(
    tmp_path: Path, make_event: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal.open(tmp_path, "n", reserve_bytes=4096)
    reserve = tmp_path / "n.reserve"
    assert reserve.stat().st_size == 4096
    journal.admit()
    write, full = os.write, threading.Event()

    def on_a_full_disk(fd: int, data: bytes) -> int:
        if reserve.exists() and full.is_set():
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(fd, data)

    def no_room(fd: int, offset: int, size: int) -> None:
        if full.is_set():
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", on_a_full_disk)
    monkeypatch.setattr(os, "posix_fallocate", no_room)
    full.set()
    journal.append(events(make_event, "in flight"))
    assert not reserve.exists()
    for _ in range(2):
        with pytest.raises(OverloadedError, match="No space left on device"):
            journal.admit()
    journal.append(events(make_event, "also in flight"))
    full.clear()
    wait_until_admitted(journal)
    assert reserve.exists()
    journal.append(events(make_event, "after"))
    journal.close()
    assert ids_of(tmp_path) == ["in flight", "also in flight", "after"]


@pytest.mark.parametrize("durability", ["group", "power"])
def test_a_disk_that_fails_to_sync_admits_nobody_until_a_new_segment_reaches_it(
    tmp_path: Path, make_event: Any, monkeypatch: pytest.MonkeyPatch, durability: Any
) -> None:
    journal = Journal.open(tmp_path, "n", durability=durability, group_ms=1)
    with monkeypatch.context() as broken:
        broken.setattr(os, "fdatasync", no_longer)
        with contextlib.suppress(OverloadedError):
            journal.append(events(make_event, "a"))
        with pytest.raises(OverloadedError, match="see to the disk"):
            journal.sync()
        with pytest.raises(OverloadedError, match="see to the disk"):
            journal.admit()
    wait_until_admitted(journal)
    assert journal.epoch >= 2
    journal.close()


@pytest.mark.parametrize("call", ["open", "write", "ftruncate", "fsync", "fdatasync"])
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EROFS])
def test_whichever_call_fails_at_whichever_time_what_was_acknowledged_is_there_once_and_it_goes_on(
    tmp_path: Path, make_event: Any, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    real = getattr(os, call)
    for fails_at in range(1, 7):
        folder = tmp_path / str(fails_at)
        journal = Journal.open(folder, "n", segment_bytes=250, durability="power")
        passes = itertools.count(1)

        def failing(*arguments: Any, **named: Any) -> Any:
            if next(passes) == fails_at:
                raise OSError(number, os.strerror(number))
            return real(*arguments, **named)

        recorded, refused = [], []
        with monkeypatch.context() as broken:
            broken.setattr(os, call, failing)
            for call_id in map(str, range(8)):
                try:
                    journal.append(events(make_event, call_id))
                except OverloadedError:
                    refused.append(call_id)
                else:
                    recorded.append(call_id)
            wait_until_admitted(journal)
        journal.append(events(make_event, "after"))
        journal.close()
        found = ids_of(folder)
        assert len(set(found)) == len(found)
        # What was refused after its write may be there, as if the process had died before it could answer.
        assert [each for each in found if each not in refused] == [*recorded, "after"]
        assert len(refused) <= 1


def test_a_node_whose_clock_was_set_back_between_two_starts_does_not_stamp_earlier_calls(
    tmp_path: Path, make_event: Any
) -> None:
    journal = Journal.open(tmp_path, "n")
    ahead_ns = journal.admit() + 60 * 10**9
    journal.append([make_event(id="a", admitted_ns=ahead_ns)])
    journal.close()
    journal = Journal.open(tmp_path, "n")
    assert journal.admit() == ahead_ns
    journal.close()
