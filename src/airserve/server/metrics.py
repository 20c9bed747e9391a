"""The Prometheus page: the `nv_inference_*` names that dashboards know, and ours.

Counters live in the deployments; this only reads them when the page is fetched. Labels are model and version,
never tenants: their number has no bound. Source of the names: Triton Inference Server, docs/user_guide/metrics.md.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from airserve.server.drift_metrics import drift_families
from airserve.server.runtime import Runtime
from airserve.serving.deployment import Deployment
from airserve.serving.generation import GenerationDeployment
from airserve.serving.rollout.rollouts import Rollouts
from airserve.serving.statistics import BATCH_BUCKETS, DURATION_BUCKETS_S
from airserve.serving.version import Loaded

_LABELS = ["model", "version"]
# A counter would get `_total` appended to its name, which Triton's dashboards do not know.
_UNTYPED = "unknown"


class RuntimeCollector(Collector):
    """Reads the counters of every deployment of one runtime."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def collect(self) -> Iterator[Metric]:
        """All metric families, with one sample per loaded version."""
        deployments = list(self._runtime.service.deployments.values())
        yield from _counters(deployments)
        yield _failures(deployments)
        yield from _money(deployments)
        yield from _variants(deployments)
        yield from _gauges(deployments)
        yield from _histograms(deployments)
        yield from drift_families(self._runtime.drift.watches)
        yield from _rollouts(self._runtime.rollouts)
        in_flight = GaugeMetricFamily("airserve_calls_in_flight", "Calls that came in and were not answered yet")
        in_flight.add_metric([], self._runtime.in_flight)
        yield in_flight
        warned = CounterMetricFamily(
            "airserve_budget_warned_calls", "Calls that were let in although a soft budget was used up"
        )
        warned.add_metric([], self._runtime.admissions.warned)
        yield warned


def _rollouts(rollouts: Rollouts) -> Iterator[Metric]:
    percent = GaugeMetricFamily(
        "airserve_rollout_percent", "How many percent of the callers a new version answers", labels=["model", "alias"]
    )
    for (model, alias), value in sorted(rollouts.percents().items()):
        percent.add_metric([model, alias], value)
    decisions = CounterMetricFamily(
        "airserve_rollout_decisions", "What this server decided of rollouts", labels=["model", "alias", "action"]
    )
    for labels, count in sorted(rollouts.decided.copy().items()):
        decisions.add_metric(list(labels), count)
    yield from (percent, decisions)


def _counters(deployments: list[Loaded]) -> Iterator[Metric]:
    families = {
        "nv_inference_request_success": ("Number of successful inference requests", "successes", 1),
        "nv_inference_count": ("Number of inferences performed (rows)", "inferences", 1),
        "nv_inference_exec_count": ("Number of model executions performed", "executions", 1),
        "nv_inference_request_duration_us": ("Cumulative request duration in microseconds", "duration_ns", 1000),
        "nv_inference_queue_duration_us": ("Cumulative queuing duration in microseconds", "queue_ns", 1000),
        "nv_inference_compute_infer_duration_us": ("Cumulative compute duration in microseconds", "compute_ns", 1000),
    }
    for name, (text, attribute, divisor) in families.items():
        family = Metric(name, text, _UNTYPED)
        for each in deployments:
            family.add_sample(name, _labels_by_name(each), getattr(each.statistics, attribute) // divisor)
        yield family


def _failures(deployments: list[Loaded]) -> Metric:
    name = "nv_inference_request_failure"
    family = Metric(name, "Number of failed inference requests", _UNTYPED)
    for each in deployments:
        for reason, count in sorted(each.statistics.failures.items()):
            family.add_sample(name, {**_labels_by_name(each), "reason": reason}, count)
    return family


def _money(deployments: list[Loaded]) -> Iterator[Metric]:
    """What was charged and what was kept out. By model alone: who pays is in `airserve usage`, not here."""
    charged = CounterMetricFamily("airserve_charged", "What calls cost, in the currency", labels=[*_LABELS, "currency"])
    refused = CounterMetricFamily(
        "airserve_refusals", "Calls that a limit or a budget kept out", labels=[*_LABELS, "reason"]
    )
    for each in deployments:
        for currency, nano in sorted(each.statistics.charged.items()):
            charged.add_metric([*_labels(each), currency], nano / 1e9)
        for reason, count in sorted(each.statistics.refused.items()):
            refused.add_metric([*_labels(each), reason], count)
    yield from (charged, refused)


def _variants(deployments: list[Loaded]) -> Iterator[Metric]:
    """Who answered, where several variants are served. Their names are the manifest's, so there are few."""
    labels = [*_LABELS, "variant"]
    calls = CounterMetricFamily("airserve_variant_calls", "Calls that a variant answered", labels=labels)
    rows = CounterMetricFamily("airserve_variant_rows", "Rows that a variant answered", labels=labels)
    for each in deployments:
        for variant, (called, answered) in sorted(each.statistics.variants.items()):
            calls.add_metric([*_labels(each), variant], called)
            rows.add_metric([*_labels(each), variant], answered)
    yield from (calls, rows)


def _gauges(deployments: list[Loaded]) -> Iterator[Metric]:
    pending = GaugeMetricFamily("nv_inference_pending_request_count", "Requests that wait", labels=_LABELS)
    row = GaugeMetricFamily("airserve_service_seconds_per_row", "Slope of the service-time curve", labels=_LABELS)
    batch = GaugeMetricFamily("airserve_service_seconds_per_batch", "Its intercept", labels=_LABELS)
    slots = GaugeMetricFamily("airserve_generations_running", "Slots that generate text", labels=_LABELS)
    for each in deployments:
        if isinstance(each, Deployment):
            pending.add_metric(_labels(each), len(each.scheduler.queue))
            row.add_metric(_labels(each), each.scheduler.curve.per_row_ns / 1e9)
            batch.add_metric(_labels(each), each.scheduler.curve.per_batch_ns / 1e9)
        else:
            pending.add_metric(_labels(each), len(each.queue))
            slots.add_metric(_labels(each), each.running)
    yield from (pending, row, batch, slots)
    yield _tokens([each for each in deployments if isinstance(each, GenerationDeployment)])


def _tokens(deployments: list[GenerationDeployment]) -> Metric:
    name = "airserve_tokens"
    family = CounterMetricFamily(
        name, "Tokens of prompts, the cached part of them, and answers", labels=[*_LABELS, "kind"]
    )
    for each in deployments:
        for kind in ("input", "cached", "output"):
            family.add_metric([*_labels(each), kind], getattr(each.tokens, kind))
    return family


def _histograms(deployments: list[Loaded]) -> Iterator[Metric]:
    duration = HistogramMetricFamily("airserve_call_duration_seconds", "From queue to reply", labels=_LABELS)
    size = HistogramMetricFamily("airserve_batch_rows", "Rows of each model execution", labels=_LABELS)
    for each in deployments:
        seen = each.statistics
        duration.add_metric(
            _labels(each), _cumulative(DURATION_BUCKETS_S, seen.duration_buckets), seen.duration_ns / 1e9
        )
        size.add_metric(_labels(each), _cumulative(BATCH_BUCKETS, seen.batch_buckets), seen.rows)
    yield from (duration, size)


def _cumulative(bounds: tuple[float, ...], counts: list[int]) -> list[tuple[str, float]]:
    total = 0
    buckets: list[tuple[str, float]] = []
    for bound, count in zip([*map(str, bounds), "+Inf"], counts, strict=True):
        total += count
        buckets.append((bound, total))
    return buckets


def _labels_by_name(deployment: Loaded) -> dict[str, str]:
    return dict(zip(_LABELS, _labels(deployment), strict=True))


def _labels(deployment: Loaded) -> list[str]:
    return [deployment.spec.model, str(deployment.spec.version)]


class MetricsPage:
    """Renders the page of one runtime, with the process's own figures."""

    content_type = CONTENT_TYPE_LATEST.encode()

    def __init__(self, runtime: Runtime) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(RuntimeCollector(runtime))
        ProcessCollector(registry=self._registry)

    def render(self) -> bytes:
        """The text format 1.0.0 of Prometheus."""
        return generate_latest(self._registry)
