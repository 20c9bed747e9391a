"""Which variants are worth having: those of which no other is as good in every respect and better in one."""

from __future__ import annotations

from collections.abc import Sequence

from airserve.models.manifest import Manifest, Variant


def not_dominated(variants: Sequence[Variant], sizes: Sequence[int]) -> list[bool]:
    """Of measured variants with their sizes in bytes: whether each is on the frontier of accuracy, time and size.

    Time is the median of one row. One that was not measured is on it, for nothing is known against it.
    """
    figures = [
        None if each.measured is None or each.accuracy is None else (-each.accuracy, each.measured.p50_ms, size)
        for each, size in zip(variants, sizes, strict=True)
    ]
    known = [each for each in figures if each is not None]
    return [each is None or not any(_dominates(other, each) for other in known) for each in figures]


def front(manifest: Manifest) -> list[Variant]:
    """The variants of a package that are on the frontier, in their order."""
    variants = manifest.variants
    good = not_dominated(variants, [size_of(manifest, each) for each in variants])
    return [each for each, kept in zip(variants, good, strict=True) if kept]


def _dominates(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))


def size_of(manifest: Manifest, variant: Variant) -> int:
    """Bytes of its weights; of a cascade those of both of its variants."""
    if variant.cascade is None:
        return variant.size_bytes
    parts = (manifest.variant(variant.cascade.small), manifest.variant(variant.cascade.full))
    return sum(part.size_bytes for part in parts if part is not None)
