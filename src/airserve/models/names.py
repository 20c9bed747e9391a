"""What models and aliases may be called: safe in a path, a URL and a label."""

from __future__ import annotations

import re
from pathlib import Path

from airserve.core.errors import InvalidInputError

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


def check_name(name: str, what: str = "model") -> str:
    """`name` itself; raises `InvalidInputError` where it could not be a name."""
    if not _NAME.fullmatch(name) or ".." in name:
        raise InvalidInputError(
            f"'{name[:80]}' is no name for a {what}; use 1 to 63 of a-z, 0-9, '.', '_', '-', a letter or digit first"
        )
    return name


def name_of(path: Path) -> str:
    """A name for the model in the file or folder `path`, made of what that is called."""
    stem = path.resolve().name if path.is_dir() else path.stem
    return re.sub(r"[^a-z0-9._-]+", "-", stem.lower()).strip("-._")[:63] or "model"
