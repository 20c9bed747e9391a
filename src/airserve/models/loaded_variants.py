"""The weights of a package in memory: every file once, however many of the variants that are served need it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from airserve.core.errors import BadPackageError
from airserve.engines import Model, load_model
from airserve.engines.cascade import CascadeModel
from airserve.models.catalog import DeploymentSpec
from airserve.models.manifest import Cascade, Manifest, Variant


def weights_of(manifest: Manifest) -> Sequence[Variant]:
    """The variants whose files are in memory: those that are served, and the two of each cascade among them."""
    found: dict[str, Variant] = {}
    for each in manifest.served:
        for part in (each,) if each.cascade is None else parts_of(manifest, each.cascade):
            found[part.file] = part
    return list(found.values())


def parts_of(manifest: Manifest, cascade: Cascade) -> tuple[Variant, Variant]:
    """The small variant and the full one."""
    small, full = manifest.variant(cascade.small), manifest.variant(cascade.full)
    if small is None or full is None or small.cascade is not None or full.cascade is not None:
        raise BadPackageError(f"the cascade of '{cascade.small}' and '{cascade.full}' needs two variants with files")
    return small, full


class LoadedVariants:
    """Loads what it is asked for, each file once, to compute with `threads` threads a run."""

    def __init__(self, spec: DeploymentSpec, threads: int) -> None:
        self._manifest = spec.manifest
        self._source = spec.source
        self._threads = threads
        self._models: dict[str, Model] = {}

    def model(self, variant: Variant) -> Model:
        """The variant, ready to run."""
        if variant.cascade is not None:
            return self._cascade(variant.cascade)
        model = self._models.get(variant.file)
        if model is None:
            source = replace(self._source, file=variant.file)
            model = self._models[variant.file] = load_model(self._manifest.engine, source, threads=self._threads)
        return model

    def best(self) -> Model:
        """The most accurate variant that is served, ready to run."""
        return self.model(self._manifest.best)

    def close(self) -> None:
        """Free everything."""
        for model in self._models.values():
            model.close()
        self._models.clear()

    def _cascade(self, cascade: Cascade) -> Model:
        small, full = parts_of(self._manifest, cascade)
        return CascadeModel(
            self.model(small),
            self.model(full),
            threshold=cascade.threshold,
            temperature=cascade.temperature,
            classes=len(self._manifest.labels),
            vision=self._manifest.vision is not None,
        )
