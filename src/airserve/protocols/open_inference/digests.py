"""Inputs by their digests: the parameter `digest` of an input is the SHA-256 of its raw bytes as sent, in hexadecimal.

Beside the data it asks that they are kept; in the place of the data it says that they were sent lately.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Protocol

from airserve.core.errors import InputNotHeldError, InvalidInputError

_SHA256 = re.compile(r"[0-9a-f]{64}")


class Inputs(Protocol):
    """The inputs that the caller sent lately."""

    def held(self, digest: str, name: str) -> bytes:
        """The raw bytes of the input `name`. Raises `InputNotHeldError`."""
        ...

    def keep(self, digest: str, name: str, raw: bytes | memoryview) -> None:
        """These bytes came with a digest, which nobody has verified."""
        ...


class NoInputs:
    """Where nothing is kept."""

    def held(self, digest: str, name: str) -> bytes:
        """Never here."""
        raise InputNotHeldError(f"no inputs are kept here, and '{name}' came without data; send its data")

    def keep(self, digest: str, name: str, raw: bytes | memoryview) -> None:
        """Nothing is kept."""


NO_INPUTS = NoInputs()


def digest_asked(parameters: Mapping[str, Any], name: str) -> str | None:
    """The parameter `digest` of the input `name`, None where there is none."""
    digest = parameters.get("digest")
    if digest is None:
        return None
    if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
        raise InvalidInputError(f"'digest' of input '{name[:80]}' is a SHA-256: 64 hexadecimal digits, lower case")
    return digest
