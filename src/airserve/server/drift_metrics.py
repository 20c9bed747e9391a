"""What the page of metrics says of drift. Labels are bounded: of a model's statistics only the worst have a line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client.core import GaugeMetricFamily, Metric

from airserve.serving.drift.watch import DriftWatch
from airserve.serving.version import Key

_WORST = 5
_LABELS = ["model", "version"]


def drift_families(watches: Mapping[Key, DriftWatch]) -> Iterator[Metric]:
    """How the last hour of each version that has a baseline compares with it."""
    psi = GaugeMetricFamily(
        "airserve_drift_psi",
        "Population stability index of the last hour's calls against the model's baseline, where it is largest",
        labels=[*_LABELS, "statistic"],
    )
    largest = GaugeMetricFamily("airserve_drift_largest_psi", "The largest of these", labels=_LABELS)
    drifted = GaugeMetricFamily(
        "airserve_drift_statistics", "Statistics that drifted: far from the baseline, and beyond chance", labels=_LABELS
    )
    rows = GaugeMetricFamily("airserve_drift_rows", "Rows of the last hour that were looked at", labels=_LABELS)
    centroid = GaugeMetricFamily(
        "airserve_drift_centroid", "How far the mean embedding moved, in mean distances from the centre", labels=_LABELS
    )
    for (model, version), watch in sorted(watches.items()):
        labels, report = [model, str(version)], watch.report()
        largest.add_metric(labels, report.largest_psi)
        for each in report.statistics[:_WORST]:
            psi.add_metric([*labels, each.name], each.psi)
        drifted.add_metric(labels, len(watch.alerts))
        rows.add_metric(labels, report.rows)
        if report.centroid is not None:
            centroid.add_metric(labels, report.centroid)
    yield from (psi, largest, drifted, rows, centroid)
