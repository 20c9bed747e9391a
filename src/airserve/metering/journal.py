"""The usage journal of one node: an append-only file, written before the replies leave.

`append` is one `write`, so a killed process loses nothing that it has answered; a background `fdatasync` bounds what a
power cut can lose. A write that fails counts for nothing: the file is cut back and the caller refuses its calls.
"""

from __future__ import annotations

import enum
import errno
import fcntl
import logging
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from airserve.core.errors import AirserveError, ConflictError, OverloadedError
from airserve.metering.event import UsageEvent, encode_event
from airserve.metering.journal_format import SegmentName, check_node_id, encode_batch
from airserve.metering.segments import check_tail, segments_of

log = logging.getLogger(__name__)

SEGMENT_BYTES = 64 << 20
GROUP_MS = 50
_DISK_FULL = {errno.ENOSPC, errno.EDQUOT}


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
    ) -> None:
        """Use `Journal.open`."""
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
    ) -> Journal:
        """Begin a new epoch of `node_id` in `folder`, which is created.

        The epoch is above `after_epoch` (what the ledger has seen: `ledger.last_epoch`) and above every epoch found in
        the folder; the files of older epochs are never written again. Raises `ConflictError` while another process
        writes this node's journal, and `DamagedJournalError` where the last segment is damaged other than by a crash.
        """
        check_node_id(node_id)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = _lock(folder / f"{node_id}.lock", node_id)
        try:
            mine = [segment for segment in segments_of(folder) if segment.node_id == node_id]
            if mine:
                check_tail(folder, mine[-1])
            epoch = max(after_epoch, mine[-1].epoch if mine else 0) + 1
            journal = cls(folder, node_id, epoch, lock, Durability(durability), segment_bytes, group_ms)
            with journal._write_lock:
                journal._open_segment()
        except BaseException:
            os.close(lock)
            raise
        return journal

    @property
    def epoch(self) -> int:
        """The number of this start of the node."""
        return self._epoch

    def append(self, events: Sequence[UsageEvent]) -> None:
        """Record `events`, all or none, in one `write`; when this returns, a killed process cannot lose them.

        Raises `OverloadedError` where they cannot be recorded: the caller then refuses the calls. The next append
        tries again, so the journal recovers by itself when the disk does.
        """
        if not events:
            return
        payloads = [encode_event(event) for event in events]
        with self._write_lock:
            if self._closed:
                raise OverloadedError("usage cannot be recorded any more: the server is stopping; try another one")
            self._make_ready()
            data = encode_batch(self._lsn + 1, payloads)
            self._write(data)
            self._lsn += len(payloads)
            self._size += len(data)
            position = (self._epoch, self._lsn)
        if self._durability is Durability.POWER:
            self._sync_to(position)
        elif not self._dirty.is_set():
            self._dirty.set()

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
        if self._syncer:
            self._syncer.join()
        try:
            self.sync()
        finally:
            with self._write_lock:
                self._retire()
                _close_all(self._retired)
                os.close(self._lock_file)

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
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                _sync_folder(self._folder)
            except OSError:
                os.close(fd)
                path.unlink()
                raise
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
            self._rotate = error.errno not in _DISK_FULL and self._size > 0

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
                for fd in files:
                    os.fdatasync(fd)
            except OSError as error:
                # What the kernel could not write is marked clean: a second fdatasync would say yes and lie.
                with self._write_lock:
                    self._new_epoch = self._epoch == reached[0] or self._new_epoch
                raise OverloadedError(
                    f"usage cannot be brought to the disk ({error.strerror}); see to the disk of the journal",
                    retry_after=5,
                ) from error
            finally:
                _close_all(files)
            self._synced = reached


def _lock(path: Path, node_id: str) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        raise ConflictError(
            f"another process writes the usage journal of node '{node_id}' in {path.parent}; stop it, or give this one "
            "another state folder"
        ) from error
    return fd


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _close_all(files: list[int]) -> None:
    while files:
        os.close(files.pop())


def _cannot_record(error: OSError) -> OverloadedError:
    return OverloadedError(
        f"usage cannot be recorded ({error.strerror}), so calls are refused; the server goes on by itself once "
        "its journal can be written again",
        retry_after=5,
    )
