"""What a way to make a variant is: a name, what it fits, and a function from the original to a file.

A method is pure: the same original and the same sample give a variant that is as good, so a finished file is kept under
the method's name and `version`, and made again only where that changes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from airserve.core.call import Array, Tensors
from airserve.models.manifest import Manifest, Variant
from airserve.models.onnx_limits import OnnxLimits

_LIMITS = OnnxLimits()


@dataclass(frozen=True, slots=True)
class Training:
    """Rows to learn from: `inputs` by name, the first axis the rows; `labels` are class indices (int64), or None."""

    inputs: Tensors
    labels: Array | None


@dataclass(frozen=True, slots=True)
class Original:
    """What variants are made from.

    `folder` is the package's, `manifest` says what is in it, and the weights of `variant`, the model itself, are in
    `file`.
    `calibration` are calls of one row each: the part of the sample that nothing is measured on. `training` is there
    where a training set was given. `limits` are what a graph may be.
    """

    folder: Path
    manifest: Manifest
    calibration: Sequence[Tensors] = ()
    training: Training | None = None
    limits: OnnxLimits = _LIMITS

    @property
    def variant(self) -> Variant:
        """The model itself: the first that no method made."""
        variants = self.manifest.variants
        return next((each for each in variants if not each.method and each.cascade is None), variants[0])

    @property
    def file(self) -> Path:
        """Where its weights lie."""
        return self.folder / self.variant.file


@dataclass(frozen=True, slots=True)
class Method:
    """One way to make a variant, which carries the method's `name`.

    `fits` says why an original is none for it, or None; it may read the graph, and does not compute. `make` writes the
    variant's weights to the path that it is given, whole or not at all, and raises `AirserveError` where it cannot:
    the others go on. What lies beside the target under its name with another suffix is its own to use and removed.
    `steps` is roughly how many times longer than the quickest it takes, for the time left. `version` goes up when the
    result changes.
    """

    name: str
    what: str
    fits: Callable[[Original], str | None]
    make: Callable[[Original, Path], None]
    version: int = 1
    steps: int = 1
