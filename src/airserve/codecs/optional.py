"""The packages that only the extra `codecs` brings, asked for in one place."""

from __future__ import annotations

import importlib
from types import ModuleType

from airserve.core.errors import NotImplementedHereError


def optional(module: str, purpose: str) -> ModuleType:
    """`module`, imported. Raises `NotImplementedHereError`, naming the extra, where it is not installed."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise NotImplementedHereError(f"{purpose} needs {error.name}: pip install 'airserve[codecs]'") from None
