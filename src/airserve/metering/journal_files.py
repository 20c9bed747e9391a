"""The files of a node's journal: the lock that makes one process its writer, and new segments."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from airserve.core.crash_points import crash_point
from airserve.core.errors import ConflictError


def lock_node(path: Path, node_id: str) -> int:
    """Hold the node's lock, until the descriptor is closed. Raises `ConflictError` where another process does."""
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


def create_segment(path: Path) -> int:
    """A new, empty segment to append to, whose name survives a power cut; its descriptor. Raises `OSError`."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
    crash_point("journal.after_create")
    try:
        sync_folder(path.parent)
        crash_point("journal.after_folder_sync")
    except OSError:
        os.close(fd)
        path.unlink()
        raise
    return fd


def sync_folder(folder: Path) -> None:
    """Bring the names in `folder` to the disk."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def close_all(files: list[int]) -> None:
    """Close each of `files`, and forget it."""
    while files:
        os.close(files.pop())
