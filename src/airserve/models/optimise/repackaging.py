"""The package of a model with its measured variants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from airserve.core.errors import InvalidInputError
from airserve.models.manifest import FILE_NAME, Manifest, Variant
from airserve.models.optimise.optimisation import Optimised
from airserve.models.package import write_package


def served_names(manifest: Manifest, named: Sequence[str]) -> tuple[str, ...]:
    """Names that a person gave, in the order of the variants. Raises `InvalidInputError` for one that there is not."""
    there = [each.name for each in manifest.variants]
    if unknown := [name for name in named if name not in there]:
        raise InvalidInputError(f"--serve names '{unknown[0][:80]}', which is no variant; there are {', '.join(there)}")
    return tuple(name for name in there if name in named)


def with_variants(manifest: Manifest, optimised: Optimised, keep: Sequence[str]) -> Manifest:
    """`manifest` with the measured variants that `keep` names, the original always, in place of those made before.

    Others, such as weights for devices, stay as they are. Nothing is served but the original.
    """
    measured = {each.name: each for each in optimised.variants}
    original, *made = optimised.variants
    parts = {name for each in made if each.name in keep and each.cascade for name in (each.cascade.small,)}
    kept = [each for each in made if each.name in keep or each.name in parts]
    others = [
        each
        for each in manifest.variants
        if each.name not in measured and each.cascade is None and (not each.method or each.name == manifest.device)
    ]
    return msgspec.structs.replace(manifest, variants=(original, *kept, *others), serve=(), accuracy_floor=None)


def serving(manifest: Manifest, chosen: Sequence[str]) -> Manifest:
    """`manifest` so that a service answers with the variants `chosen`; none says the original.

    A model that generates text has no `serve`: its first variant is the one that answers. Raises `InvalidInputError`
    where several are named for one.
    """
    if not chosen:
        return manifest
    if manifest.engine == "onnx":
        return msgspec.structs.replace(manifest, serve=tuple(chosen))
    if len(chosen) > 1:
        raise InvalidInputError(f"a language model answers with one variant; --serve names {', '.join(chosen)}")
    first = [each for each in manifest.variants if each.name == chosen[0]]
    rest = [each for each in manifest.variants if each.name != chosen[0]]
    return msgspec.structs.replace(manifest, variants=(*first, *rest))


def write_optimised(target: Path, folder: Path, files: Sequence[str], manifest: Manifest, optimised: Optimised) -> Path:
    """Write the package in `folder`, whose `files` are those, with the variants of `manifest`, to `target`."""
    weights = _weights(optimised, manifest.variants)
    dropped = {name for name in files if name.endswith((".onnx", ".gguf"))} - _named(manifest)
    kept: dict[str, bytes | Path] = {
        name: folder / name for name in files if name != FILE_NAME and name not in dropped and name not in weights
    }
    return write_package(target, manifest, {**kept, **weights})


def _weights(optimised: Optimised, variants: Sequence[Variant]) -> Mapping[str, Path]:
    made = {each.variant.name: each.file for each in optimised.measurements[1:] if each.file is not None}
    return {each.file: made[each.name] for each in variants if each.name in made and made[each.name] is not None}


def _named(manifest: Manifest) -> set[str]:
    heads = set() if manifest.split is None else {manifest.split.head}
    return {each.file for each in manifest.variants if each.file} | heads
