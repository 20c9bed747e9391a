"""A secret in a file of its own beside the database, made at first use, readable to its owner alone."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path

from airserve.core.errors import AirserveError
from airserve.core.made_once import read_or_make


def load_or_create_secret(path: Path, length: int, make: Callable[[int], bytes] = secrets.token_bytes) -> bytes:
    """The `length` bytes of the file at `path`; `make(length)` gives them where there is none.

    Raises `AirserveError` for a file of another length.
    """
    secret = read_or_make(path, lambda: make(length))
    if len(secret) != length:
        raise AirserveError(f"{path} is damaged: {len(secret)} bytes, not {length}; restore it from a backup")
    return secret
