"""What makes no sense in `[[variants]]`, `serve` and `accuracy_floor`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airserve.models.manifest import Cascade, Manifest, Variant


def variant_problems(manifest: Manifest) -> Iterator[str]:
    """What is wrong, a sentence each."""
    names = Counter(each.name for each in manifest.variants)
    for name, count in names.items():
        if count > 1:
            yield f"{count} variants are named '{name[:80]}'"
    for variant in manifest.variants:
        yield from _of_variant(variant, names)
    for name in manifest.serve:
        if name not in names:
            yield f"serve names the variant '{name[:80]}'; there are {', '.join(names) or 'none'}"
    if manifest.serve and (manifest.engine != "onnx" or manifest.sealed is not None):
        yield "several variants are served of models of the engine onnx that are not sealed; leave out serve"
    yield from _floor(manifest, manifest.accuracy_floor)
    if manifest.variants and manifest.variants[0].cascade is not None:
        yield "the first variant is the model itself, no cascade"


def _of_variant(variant: Variant, names: Counter[str]) -> Iterator[str]:
    if variant.size_bytes < 0 or bool(variant.file) == (variant.cascade is not None):
        yield f"variant '{variant.name[:80]}' needs a file and its size, or a cascade and no file"
    figures = (variant.accuracy, variant.low, variant.high)
    if any(each is not None and not math.isfinite(each) for each in figures):
        yield f"the accuracy of variant '{variant.name[:80]}' is a finite number"
    if variant.cascade is not None:
        yield from _of_cascade(variant.name, variant.cascade, names)


def _of_cascade(name: str, cascade: Cascade, names: Counter[str]) -> Iterator[str]:
    parts = (cascade.small, cascade.full)
    if name in parts or cascade.small == cascade.full or not set(parts) <= set(names):
        yield f"the cascade '{name[:80]}' names two other variants, small and full"
    if not (0 <= cascade.threshold <= 1 and 0 <= cascade.share <= 1 and cascade.temperature > 0):
        yield f"the cascade '{name[:80]}' has a threshold and a share of 0 to 1, and a temperature above 0"


def _floor(manifest: Manifest, floor: float | None) -> Iterator[str]:
    if floor is None:
        return
    if not math.isfinite(floor):
        yield "accuracy_floor is a finite number"
    for each in manifest.served:
        if each.accuracy is not None and each.accuracy < floor:
            yield f"variant '{each.name[:80]}' is served; its accuracy {each.accuracy:g} is below the floor {floor:g}"
