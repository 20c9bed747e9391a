"""The pepper: the secret under which keys are hashed, kept beside the database, not in it."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from airserve.core.errors import AirserveError

FILE_NAME = "pepper"
_LENGTH = 32


def load_or_create_pepper(state_dir: Path) -> bytes:
    """The 32 bytes of `state_dir/pepper`, made at first use, readable to their owner alone.

    Of several processes that start at once exactly one makes it: a link is created or it exists already.
    """
    path = state_dir / FILE_NAME
    if not path.exists():
        temporary = state_dir / f"{FILE_NAME}.{secrets.token_hex(8)}"
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400), "wb") as file:
            file.write(secrets.token_bytes(_LENGTH))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            pass
        finally:
            temporary.unlink()
    pepper = path.read_bytes()
    if len(pepper) != _LENGTH:
        raise AirserveError(f"{path} is damaged: {len(pepper)} bytes, not {_LENGTH}; restore it, or no key works")
    return pepper
