"""What is published and served, how accurate its variants are, and whether its inputs drifted. For operators."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Response

from airserve.accounts.roles import Action
from airserve.models.catalog import VersionInfo
from airserve.models.manifest import Manifest
from airserve.models.optimise.frontier import front, size_of
from airserve.server.apis.control.caller import Asked, Caller, reply
from airserve.serving.drift.watch import DriftWatch
from airserve.serving.version import Version

router = APIRouter(tags=["models"])

Count = Annotated[int, Query(ge=1, le=2000)]


@router.get("/models")
def models(asked: Asked) -> Response:
    """Every version of every model, and what this server did with it since it started."""
    asked.may(Action.MODELS)
    return reply([_summary(asked, info) for info in asked.runtime.catalog.list()])


@router.get("/models/{model}")
def model(asked: Asked, model: str) -> Response:
    """One model: every version with its signature and its variants, as they were measured.

    `frontier` names the variants of which no other is as accurate, as fast and as small, and better in one of these.
    """
    asked.may(Action.MODELS)
    infos = asked.runtime.catalog.show(model)
    return reply([{**_summary(asked, info), "manifest": _described(info.manifest)} for info in infos])


@router.get("/models/{model}/drift")
def drift(asked: Asked, model: str, count: Count = 20) -> Response:
    """How this server's calls of the last hour compare with the baseline of each version: the worst `count` statistics.

    `drifted` are those that are far from the baseline, and beyond chance, with since when.
    """
    asked.may(Action.MODELS)
    watches = asked.runtime.drift.watches
    versions = [info.version for info in asked.runtime.catalog.show(model) if (model, info.version) in watches]
    return reply([_drift(version, watches[model, version], count) for version in versions])


@router.get("/drift")
def alerts(asked: Asked) -> Response:
    """What drifted on this server: one entry for each version, with since when each statistic did."""
    asked.may(Action.MODELS)
    found = []
    for (name, version), watch in sorted(asked.runtime.drift.watches.items()):
        report = watch.report()
        if watch.alerts:
            psi = {each.name: each.psi for each in report.statistics}
            drifted = [
                {"name": each, "psi": psi[each], "since_ns": since_ns} for each, since_ns in watch.alerts.items()
            ]
            found.append({"model": name, "version": version, "rows": report.rows, "drifted": drifted})
    return reply(found)


def _summary(asked: Caller, info: VersionInfo) -> dict[str, Any]:
    served = next(
        (each for each in asked.runtime.service.all_versions(info.model) if each.spec.version == info.version), None
    )
    watch = asked.runtime.drift.of((info.model, info.version))
    return {
        "model": info.model,
        "version": info.version,
        "aliases": info.aliases,
        "engine": info.engine,
        "size_bytes": info.size_bytes,
        "address": info.address,
        "published_ns": info.published_ns,
        "retired_ns": info.retired_ns,
        "baseline": watch is not None,
        "drifted": [] if watch is None else list(watch.alerts),
        **_served(served),
    }


def _served(version: Version | None) -> dict[str, Any]:
    if version is None:
        none = {"calls": 0, "failures": {}, "rows": 0, "mean_ms": None, "by_variant": {}}
        return {"state": "not served", "reason": "", **none}
    done = version.statistics
    return {
        "state": version.state.value,
        "reason": version.reason,
        "calls": done.successes,
        "failures": dict(done.failures),
        "rows": done.inferences,
        "mean_ms": round(done.duration_ns / done.successes / 1e6, 3) if done.successes else None,
        "by_variant": {name: calls for name, (calls, _) in done.variants.copy().items()},
    }


def _described(manifest: Manifest) -> dict[str, Any]:
    return {
        "description": manifest.description,
        "licence": manifest.licence,
        "inputs": manifest.inputs,
        "outputs": manifest.outputs,
        "max_batch": manifest.max_batch,
        "variants": [
            {**msgspec.to_builtins(each), "weights_bytes": size_of(manifest, each)} for each in manifest.variants
        ],
        "frontier": [each.name for each in front(manifest)],
        "served": [each.name for each in manifest.served],
        "accuracy_floor": manifest.accuracy_floor,
        "device": manifest.device,
    }


def _drift(version: int, watch: DriftWatch, count: int) -> dict[str, Any]:
    report = watch.report()
    document: dict[str, Any] = msgspec.to_builtins(report)
    return {
        "version": version,
        **document,
        "statistics": document["statistics"][:count],
        "drifted": list(watch.alerts),
        "since_ns": dict(watch.alerts),
    }
