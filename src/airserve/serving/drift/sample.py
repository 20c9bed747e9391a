"""Drift of rows in a file, without a service: the model runs over them here."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np

from airserve.core.errors import InvalidInputError
from airserve.models.baseline import BASELINE_NAME, LEAST_ROWS, parse_baseline
from airserve.models.baseline_package import answered, check_can_have_baseline, read_sample
from airserve.models.catalog import DeploymentSpec
from airserve.models.loaded_variants import LoadedVariants
from airserve.models.manifest import Manifest
from airserve.models.observed import Observer
from airserve.models.stored_package import StoredPackage
from airserve.serving.drift.window import LEAST_CALLS, DriftReport, DriftWindow


def drift_of_sample(manifest: Manifest, package: StoredPackage, data: Path) -> DriftReport:
    """How the rows in `data` compare with the baseline in `package`; each row counts as a call.

    Raises `InvalidInputError` for a sample that does not fit the model or is too small, `NotFoundError`, and
    `BadPackageError`.
    """
    check_can_have_baseline(manifest)
    baseline = parse_baseline(package.read(BASELINE_NAME), manifest)
    calls = read_sample(data, manifest)
    least = max(LEAST_ROWS, LEAST_CALLS)
    if len(calls) < least:
        raise InvalidInputError(f"{data.name} has {len(calls)} rows; fewer than {least} say too little")
    observer, window = Observer(manifest, baseline.embedding), DriftWindow(baseline)
    spec = DeploymentSpec(manifest.name, 0, package.address, package.root, manifest, (), package)
    with closing(LoadedVariants(spec, threads=1)) as loaded, np.errstate(all="ignore"):
        for inputs, outputs in answered(loaded.best(), manifest, calls):
            vectors = None if baseline.embedding is None else outputs[baseline.embedding.output]
            values = observer.of(inputs, outputs)
            for row in range(len(values)):
                window.add(values[row : row + 1], 0, None if vectors is None else vectors[row : row + 1])
    return window.report(0)
