"""A secret in a file of its own beside the database, made at first use, readable to its owner alone."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path

from airserve.core.errors import AirserveError


def load_or_create_secret(path: Path, length: int, make: Callable[[int], bytes] = secrets.token_bytes) -> bytes:
    """The `length` bytes of the file at `path`; `make(length)` gives them where there is none.

    Of several processes that start at once exactly one makes it: a link is created or it exists already. Raises
    `AirserveError` for a file of another length.
    """
    if not path.exists():
        temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400), "wb") as file:
            file.write(make(length))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            pass
        finally:
            temporary.unlink()
    secret = path.read_bytes()
    if len(secret) != length:
        raise AirserveError(f"{path} is damaged: {len(secret)} bytes, not {length}; restore it from a backup")
    return secret
