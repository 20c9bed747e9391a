"""The usage journal of one node: an append-only file, written before the replies leave.

`append` is one `write`, so a killed process loses nothing that it has answered; a background `fdatasync` bounds what a
power cut can lose. A write that fails counts for nothing: the file is cut back and the caller refuses its calls.

Calls ask `admit` before anything is done for them. When the disk runs full, the calls in flight are still recorded, in
room that was kept for them (`metering/reserve.py`), and new ones are refused until the disk has room again.
"""

from __future__ import annotations

import enum
import logging
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from airserve.core.crash_points import crash_point
from airserve.core.errors import AirserveError, OverloadedError
from airserve.metering.billing_clock import BillingClock
from airserve.metering.event import UsageEvent, encode_event, stamp_of
from airserve.metering.journal_files import close_all, create_segment, lock_node
from airserve.metering.journal_format import SegmentName, check_node_id, encode_batch
from airserve.metering.reserve import DISK_FULL, RESERVE_BYTES, Reserve
from airserve.metering.segments import check_tail, segments_of

log = logging.getLogger(__name__)

SEGMENT_BYTES = 64 << 20
GROUP_MS = 50
RETRY_S = 0.2
"""How often a journal that could not be written looks whether it can."""


class Position(NamedTuple):
    """A place in a node's journal: everything of `epoch` up to number `lsn`."""

    epoch: int
    lsn: int


class Durability(enum.Enum):
    """What a recorded call survives. All of them survive the end of the process, however it ends."""

    OS = "os"
    """No more than that: the kernel writes to the disk when it sees fit."""
    GROUP = "group"
    """A power cut loses at most the last `group_ms`."""
    POWER = "power"
    """A power cut loses nothing: `append` waits for the disk."""


class Journal:
    """The writer of one node's journal. All methods are thread-safe; only one process at a time may hold it."""

    def __init__(
        self,
        folder: Path,
        node_id: str,
        epoch: int,
        lock: int,
        durability: Durability,
        segment_bytes: int,
        group_ms: float,
        reserve_bytes: int,
        last_ns: int,
    ) -> None:
        """Use `Journal.open`."""
        self._clock = BillingClock(last_ns)
        self._reserve = Reserve(folder / f"{node_id}.reserve", reserve_bytes)
        self._refusal: OverloadedError | None = None
        self._recovery: threading.Thread | None = None
        self._folder = folder
        self._node_id = node_id
        self._epoch = epoch
        self._lock_file = lock
        self._durability = durability
        self._segment_bytes = segment_bytes
        self._seq = -1
        self._fd = -1
        self._size = 0
        self._lsn = 0
        self._rotate = False
        self._new_epoch = False
        self._closed = False
        self._retired: list[int] = []
        self._write_lock = threading.Lock()
        self._sync_lock = threading.Lock()
        self._synced = (epoch, 0)
        self._dirty = threading.Event()
        self._stop = threading.Event()
        self._syncer: threading.Thread | None = None
        if durability is Durability.GROUP:
            self._syncer = threading.Thread(
                target=self._sync_in_groups, args=(group_ms / 1000,), name="journal-sync", daemon=True
            )
            self._syncer.start()

    @classmethod
    def open(
        cls,
        folder: Path,
        node_id: str,
        *,
        after_epoch: int = 0,
        durability: Durability | Literal["os", "group", "power"] = Durability.GROUP,
        segment_bytes: int = SEGMENT_BYTES,
        group_ms: float = GROUP_MS,
        reserve_bytes: int = RESERVE_BYTES,
    ) -> Journal:
        """Begin a new epoch of `node_id` in `folder`, which is created.

        The epoch is above `after_epoch` (what the ledger has seen: `ledger.last_epoch`) and above every epoch found in
        the folder; the files of older epochs are never written again. Raises `ConflictError` while another process
        writes this node's journal, and `DamagedJournalError` where the last segment is damaged other than by a crash.
        """
        check_node_id(node_id)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = lock_node(folder / f"{node_id}.lock", node_id)
        try:
            mine = [segment for segment in segments_of(folder) if segment.node_id == node_id]
            newest = check_tail(folder, mine[-1]) if mine else None
            last_ns = stamp_of(newest.payload) if newest else 0
            epoch = max(after_epoch, mine[-1].epoch if mine else 0) + 1
            journal = cls(
                folder, node_id, epoch, lock, Durability(durability), segment_bytes, group_ms, reserve_bytes, last_ns
            )
            with journal._write_lock:
                journal._open_segment()
                if not journal._reserve.take():
                    journal._refuse_calls(_cannot_record(OSError(DISK_FULL[0], os.strerror(DISK_FULL[0]))))
        except BaseException:
            os.close(lock)
            raise
        return journal

    @property
    def epoch(self) -> int:
        """The number of this start of the node."""
        return self._epoch

    def admit(self) -> int:
        """The stamp of a call that is admitted now: UTC nanoseconds, as a `BillingClock` gives them.

        To be asked before anything is done for the call, on any thread: it opens no file. Raises `OverloadedError`
        while usage cannot be recorded.
        """
        if self._refusal is not None:
            raise self._refusal
        return self._clock.now_ns()

    def append(self, events: Sequence[UsageEvent]) -> Position:
        """Record `events`, all or none, in one `write`; when this returns, a killed process cannot lose them.

        The position is that of the last of them.

        Raises `OverloadedError` where they cannot be recorded: the caller then refuses the calls. The next append
        tries again, so the journal recovers by itself when the disk does.
        """
        if not events:
            return Position(self._epoch, self._lsn)
        payloads = [encode_event(event) for event in events]
        with self._write_lock:
            if self._closed:
                raise OverloadedError("usage cannot be recorded any more: the server is stopping; try another one")
            try:
                self._record(payloads)
            except OverloadedError as refusal:
                self._refuse_calls(refusal)
                # These calls were admitted while there was room, and their work is done.
                if not (_is_full(refusal) and self._reserve.release()):
                    raise
                self._record(payloads)
            position = Position(self._epoch, self._lsn)
        if self._durability is Durability.POWER:
            self._sync_to(position)
        elif not self._dirty.is_set():
            self._dirty.set()
        return position

    def sync(self) -> None:
        """Wait until all that was appended is on the disk; raises `OverloadedError` where the disk says no."""
        with self._write_lock:
            position = (self._epoch, self._lsn)
        self._sync_to(position)

    def close(self) -> None:
        """Sync, and let go of the node; appends are refused from here on. Closing twice is fine."""
        with self._write_lock:
            if self._closed:
                return
            self._closed = True
        self._stop.set()
        self._dirty.set()
        for thread in (self._syncer, self._recovery):
            if thread:
                thread.join()
        try:
            self.sync()
        finally:
            with self._write_lock:
                self._retire()
                close_all(self._retired)
                os.close(self._lock_file)

    def _record(self, payloads: Sequence[bytes]) -> None:
        self._make_ready()
        data = encode_batch(self._lsn + 1, payloads)
        crash_point("journal.before_write")
        self._write(data)
        crash_point("journal.after_write")
        self._lsn += len(payloads)
        self._size += len(data)

    def _refuse_calls(self, refusal: OverloadedError) -> None:
        """Admit nobody from here on, until `_recover` has seen that the journal can be written. The lock is held."""
        if self._closed:
            return
        self._refusal = refusal
        if self._recovery is None:
            self._recovery = threading.Thread(target=self._recover, name="journal-recovery", daemon=True)
            self._recovery.start()

    def _recover(self) -> None:
        while not self._stop.wait(RETRY_S):
            try:
                with self._write_lock:
                    self._reserve.release()
                    if not self._reserve.take():
                        continue
                    self._make_ready()
                if self._durability is not Durability.OS:
                    self.sync()
            except AirserveError:
                continue
            with self._write_lock:
                self._refusal = self._recovery = None
                return

    def _make_ready(self) -> None:
        """See that there is a segment to write to. The write lock is held."""
        if self._new_epoch:
            self._epoch, self._seq, self._lsn = self._epoch + 1, -1, 0
            self._retire()
            self._new_epoch = False
        if self._fd < 0 or self._rotate or self._size >= self._segment_bytes:
            self._open_segment()

    def _open_segment(self) -> None:
        path = self._folder / str(SegmentName(self._node_id, self._epoch, self._seq + 1))
        try:
            fd = create_segment(path)
        except OSError as error:
            raise _cannot_record(error) from error
        self._retire()
        self._fd, self._size, self._rotate = fd, 0, False
        self._seq += 1

    def _retire(self) -> None:
        """Leave the current segment; what is not yet on the disk still gets there with the next sync."""
        if self._fd >= 0:
            if self._durability is Durability.OS:
                os.close(self._fd)
            else:
                self._retired.append(self._fd)
            self._fd = -1

    def _write(self, data: bytes) -> None:
        """All of `data`, or nothing and an `OverloadedError`."""
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError as error:
            self._undo(error)
            raise _cannot_record(error) from error

    def _undo(self, error: OSError) -> None:
        # A reader may look at the file in between: it takes no batch before its last frame is there.
        try:
            os.ftruncate(self._fd, self._size)
        except OSError:
            self._new_epoch = True
        else:
            # A full disk gets room again; any other trouble may belong to this one file (its size limit, a bad block).
            self._rotate = error.errno not in DISK_FULL and self._size > 0

    def _sync_in_groups(self, pause_s: float) -> None:
        while True:
            self._dirty.wait()
            if self._stop.is_set():
                return
            self._dirty.clear()
            try:
                self.sync()
            except AirserveError as error:
                log.error("%s", error.message)
            self._stop.wait(pause_s)

    def _sync_to(self, position: tuple[int, int]) -> None:
        """Wait until everything up to (epoch, lsn) is on the disk. Threads that wait together share one fdatasync."""
        with self._sync_lock:
            if self._synced >= position:
                return
            with self._write_lock:
                files, self._retired = self._retired, []
                if self._fd >= 0:
                    files.append(os.dup(self._fd))
                reached = (self._epoch, self._lsn)
            try:
                crash_point("journal.before_sync")
                for fd in files:
                    os.fdatasync(fd)
                crash_point("journal.after_sync")
            except OSError as error:
                # What the kernel could not write is marked clean: a second fdatasync would say yes and lie.
                refusal = OverloadedError(
                    f"usage cannot be brought to the disk ({error.strerror}); see to the disk of the journal",
                    retry_after=5,
                )
                with self._write_lock:
                    self._new_epoch = self._epoch == reached[0] or self._new_epoch
                    self._refuse_calls(refusal)
                raise refusal from error
            finally:
                close_all(files)
            self._synced = reached


def _is_full(refusal: OverloadedError) -> bool:
    return isinstance(refusal.__cause__, OSError) and refusal.__cause__.errno in DISK_FULL


def _cannot_record(error: OSError) -> OverloadedError:
    return OverloadedError(
        f"usage cannot be recorded ({error.strerror}), so calls are refused; the server goes on by itself once "
        "its journal can be written again",
        retry_after=5,
    )
