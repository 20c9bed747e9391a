"""Room on the disk that is kept free for the calls in flight, in case the disk runs full while they compute."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

RESERVE_BYTES = 1 << 20
"""Some five thousand usage events."""
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


class Reserve:
    """A file of `size` bytes that holds nothing. Not thread-safe."""

    def __init__(self, path: Path, size: int) -> None:
        self._path = path
        self._size = size

    def take(self) -> bool:
        """Allocate the room; False where the disk has not that much."""
        try:
            fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(fd, 0, self._size)
            finally:
                os.close(fd)
        except OSError as error:
            # A file system, or a limit on the size of files, that cannot keep room is no reason to refuse calls.
            if error.errno not in DISK_FULL:
                return True
            with contextlib.suppress(OSError):
                self._path.unlink()
            return False
        return True

    def release(self) -> bool:
        """Give the room to whoever writes next; whether there was any."""
        try:
            self._path.unlink()
        except OSError:
            return False
        return True
