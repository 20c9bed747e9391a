"""The statistics extension: what each version has done, in the protocol's fields.

Source: Triton's extension_statistics.md. `inference_stats` counts calls, `batch_stats` runs of the model, both in
cumulative nanoseconds.
"""

from __future__ import annotations

from typing import Any

from airserve.serving.statistics import Stages
from airserve.serving.version import Version

_NEVER = {"count": 0, "ns": 0}


def model_statistics(version: Version) -> dict[str, Any]:
    """One entry of `model_stats`. Nothing is answered from a cache here, so its counts are 0."""
    seen = version.statistics
    weights = [{"type": "CPU", "id": 0, "byte_size": version.weight_bytes}]
    return {
        "name": version.spec.model,
        "version": str(version.spec.version),
        "last_inference": seen.last_ns // 1_000_000,
        "inference_count": seen.inferences,
        "execution_count": seen.executions,
        "inference_stats": {
            "success": _total(seen.successes, seen.duration_ns),
            "fail": _total(sum(seen.failures.copy().values()), seen.failed_ns),
            "queue": _total(seen.successes, seen.queue_ns),
            **_stages(seen.requests),
            "cache_hit": _NEVER,
            "cache_miss": _NEVER,
        },
        "response_stats": {},
        "batch_stats": [{"batch_size": rows, **_stages(seen.by_size[rows])} for rows in sorted(seen.by_size.copy())],
        "memory_usage": weights if version.deployment is not None else [],
    }


def _stages(stages: Stages) -> dict[str, Any]:
    return {
        "compute_input": _total(stages.count, stages.input_ns),
        "compute_infer": _total(stages.count, stages.infer_ns),
        "compute_output": _total(stages.count, stages.output_ns),
    }


def _total(count: int, ns: int) -> dict[str, int]:
    return {"count": count, "ns": ns}
