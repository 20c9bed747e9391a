"""What an import gives."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from airserve.models.manifest import Manifest


@dataclass(frozen=True, slots=True)
class Parity:
    """How far the package's answers are from the source model's, on `samples` inputs: the largest difference."""

    samples: int
    difference: float


@dataclass(frozen=True, slots=True)
class Imported:
    """A package in `folder`, made from `source`. `parity` is None where nothing but the package runs the model."""

    source: str
    folder: Path
    manifest: Manifest
    parity: Parity | None = None
