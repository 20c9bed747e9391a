"""A file that is made at first use, once, and readable to its owner alone."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path


def read_or_make(path: Path, make: Callable[[], bytes], mode: int = 0o400) -> bytes:
    """What the file at `path` holds; `make()` gives it where there is none.

    Of several processes that start at once exactly one makes it: a link is created or it exists already.
    """
    if not path.exists():
        temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(make())
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            pass
        finally:
            temporary.unlink()
    return path.read_bytes()
