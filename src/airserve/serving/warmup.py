"""Load a model, run it until it is warm, and find out how this machine serves it best.

Two ways to use the cores: one batch at a time on all of them, or one single-threaded batch a core. The first
suits a model that gains from batching, since calls gather while it computes; the second one that does not.
The model's own curve decides; where several variants are served, that of the most accurate one for all of them, since
they share the workers.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from airserve.core.call import Tensors
from airserve.core.errors import AirserveError
from airserve.core.tensor import Signature
from airserve.engines import Model
from airserve.engines.options import Python
from airserve.models.catalog import DeploymentSpec
from airserve.models.loaded_variants import LoadedVariants, parts_of
from airserve.models.manifest import ITSELF, Manifest, Variant
from airserve.serving.allowance import accuracy_of
from airserve.serving.curve import ServiceCurve

_SIZES = (1, 2, 4, 8, 16, 32)
_BUDGET_S = 1.0
_REPEATS = 5
_LONG_BATCH_NS = 1_000_000


@dataclass(frozen=True, slots=True)
class WarmVariant:
    """One variant that is ready, with its accuracy and its measured curve."""

    name: str
    accuracy: float
    model: Model
    curve: ServiceCurve


@dataclass(frozen=True, slots=True)
class Warm:
    """A model that is ready: how many batches it runs at once, and the most rows of each.

    `variants` has the most accurate one first; of a model that serves but one, that is all.
    """

    variants: tuple[WarmVariant, ...]
    weights: LoadedVariants
    workers: int
    threads: int
    max_rows: int

    @property
    def model(self) -> Model:
        """The most accurate variant."""
        return self.variants[0].model

    @property
    def curve(self) -> ServiceCurve:
        """Its curve."""
        return self.variants[0].curve

    def close(self) -> None:
        """Free the weights."""
        self.weights.close()


def load_warm(spec: DeploymentSpec, *, cores: int | None = None) -> Warm:
    """Load the weights of `spec`, measure, and choose workers and threads.

    A model that fails on made-up input is served all the same, one call at a time, and learns its curve from
    real calls.
    """
    cores = cores or available_cores()
    manifest = spec.manifest
    max_rows = manifest.max_batch if batches(manifest.signature) else 1
    # A sealed model is one process, whose only way to use all cores is one batch at a time on all of them.
    threads = 1 if manifest.sealed is None else cores
    weights = LoadedVariants(spec, threads)
    leading = _leading(manifest)
    model = weights.model(leading)
    try:
        curve = measure(model, max_rows)
    except AirserveError:
        return _warm(manifest, weights, {leading.name: ServiceCurve()}, workers=1, threads=1, max_rows=1)
    workers = 1
    if manifest.engine == "python":
        # As many at once as it has processes, which choose their threads themselves.
        workers = (manifest.python or Python()).workers
    elif manifest.sealed is None:
        best = curve.best_batch(max_rows)
        if best == 1:
            workers = cores
        elif cores > 1 and curve.predict(best) > _LONG_BATCH_NS:
            weights.close()
            weights, threads = LoadedVariants(spec, cores), cores
            curve = measure(weights.model(leading), max_rows)
    return _warm(manifest, weights, {leading.name: curve}, workers=workers, threads=threads, max_rows=max_rows)


def available_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def batches(signature: Signature) -> bool:
    """Whether rows of different calls can share a run: every tensor has a free first axis."""
    tensors = (*signature.inputs, *signature.outputs)
    return signature.max_batch > 1 and all(spec.shape and spec.shape[0] == -1 for spec in tensors)


def measure(model: Model, max_rows: int) -> ServiceCurve:
    """The curve of `model` from real runs, within about a second."""
    curve = ServiceCurve()
    end = time.monotonic() + _BUDGET_S
    for rows in _SIZES:
        if rows > max_rows or (rows > 1 and time.monotonic() > end):
            break
        inputs = model.example(rows)
        model.run(inputs)
        best_ns = min(_time_once(model, inputs) for _ in range(_REPEATS))
        curve.observe(rows, best_ns)
    return curve


def _time_once(model: Model, inputs: Tensors) -> int:
    start = time.perf_counter_ns()
    model.run(inputs)
    return max(1, time.perf_counter_ns() - start)


def cascade_curve(small: ServiceCurve, full: ServiceCurve, share: float, max_rows: int) -> ServiceCurve:
    """What a cascade is expected to take before its first call, where `share` of the rows are surely answered.

    Made-up input tells nothing here: its rows are all alike, and so all sure or all unsure. With rows independent, a
    batch of n is wholly sure with probability shareⁿ; otherwise n (1 − share) / (1 − shareⁿ) rows run twice.
    """
    curve = ServiceCurve()
    for rows in _SIZES:
        if rows > max_rows or not small.predict(1) or not full.predict(1):
            break
        unsure = 1.0 - share**rows
        again = rows * (1.0 - share)
        full_ns = full.per_row_ns * again + full.per_batch_ns * unsure
        curve.observe(rows, small.predict(rows) + int(full_ns))
    return curve


def _leading(manifest: Manifest) -> Variant:
    """The variant whose curve decides: the most accurate one, of a cascade the full one."""
    first = manifest.best
    return first if first.cascade is None else parts_of(manifest, first.cascade)[1]


def _warm(
    manifest: Manifest,
    weights: LoadedVariants,
    curves: dict[str, ServiceCurve],
    *,
    workers: int,
    threads: int,
    max_rows: int,
) -> Warm:
    """Every served variant, with those measured that are not among `curves`."""
    served = manifest.served or (ITSELF,)
    variants = []
    for each in served:
        curve = _curve(manifest, weights, curves, each, max_rows)
        variants.append(WarmVariant(each.name, accuracy_of(each), weights.model(each), curve))
    return Warm(tuple(variants), weights, workers, threads, max_rows)


def _curve(
    manifest: Manifest, weights: LoadedVariants, curves: dict[str, ServiceCurve], variant: Variant, max_rows: int
) -> ServiceCurve:
    if variant.cascade is not None:
        small, full = (
            _curve(manifest, weights, curves, part, max_rows) for part in parts_of(manifest, variant.cascade)
        )
        return cascade_curve(small, full, variant.cascade.share, max_rows)
    if variant.name not in curves:
        try:
            curves[variant.name] = measure(weights.model(variant), max_rows)
        except AirserveError:
            curves[variant.name] = ServiceCurve()
    return curves[variant.name]
