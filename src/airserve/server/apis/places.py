"""`/v2/models/{model}/places`: where a model can be computed, and in which codecs its tensors may travel to it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from airserve.accounts import Principal
from airserve.core.errors import BadPackageError, NotFoundError, UnsignedModelError
from airserve.models.catalog import DeploymentSpec
from airserve.models.manifest import SplitOf, Variant
from airserve.protocols import headers as wire
from airserve.protocols import open_inference as oip
from airserve.protocols.encoded import Encoded
from airserve.protocols.open_inference import Route
from airserve.server.apis.device import device_bundle
from airserve.server.calls import Calls
from airserve.server.http import Request
from airserve.serving.allowance import accuracy_of
from airserve.serving.deployment import Deployment
from airserve.serving.service import Served
from airserve.serving.version import Version


@dataclass(frozen=True, slots=True)
class _Bundle:
    """How large a version's bundle for devices is, and the SHA-256 of it in hexadecimal."""

    size_bytes: int
    sha256: str


class PlacesRoutes:
    """What a device needs to choose between the cloud, itself, and a split between the two."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._runtime = calls.runtime
        # By model, version and package, whose content never changes.
        self._bundles: dict[tuple[str, int, str], _Bundle] = {}

    async def places(self, request: Request, route: Route) -> Encoded:
        """All that is known of a version, for whoever may read about the model."""
        principal = self._runtime.gate.reader(
            wire.bearer_key(request.headers), route.model, request.client, request.certificate
        )
        served = self._runtime.service.resolve(route.model or "", route.version)
        spec, manifest = served.spec, served.spec.manifest
        weights = manifest.best
        return oip.json_reply(
            {
                "model": spec.model,
                "version": str(spec.version),
                "address": spec.address,
                "deterministic": manifest.deterministic,
                "compute_ms": _compute_ms(served),
                "metric": weights.metric,
                "accuracy": weights.accuracy,
                **_variants(manifest.served),
                "vision": _section(manifest.vision),
                "text": _section(manifest.text),
                "codecs": _codecs(spec),
                "device": await self._device(served),
                "splits": await self._splits(spec, principal),
            }
        )

    async def device(self, request: Request, route: Route) -> Encoded:
        """The bundle for devices, weights and all: for a tenant who may call the model, not for who may only read.

        A download that was cut off goes on where it ended.
        """
        self._calls.admit(request, "infer", route.model)
        with self._calls.in_flight():
            served = self._runtime.service.resolve(route.model or "", route.version)
            return await device_bundle(self._runtime, served, request.headers)

    async def _device(self, served: Served) -> dict[str, Any] | None:
        manifest = served.spec.manifest
        variant = next((each for each in manifest.variants if each.name == manifest.device), None)
        bundle = None if variant is None else await self._bundle(served)
        if variant is None or bundle is None:
            return None
        # The weights that are served lose nothing by being on a device.
        exact = variant.accuracy is None and variant.name == manifest.best.name
        return {
            "variant": variant.name,
            "bytes": bundle.size_bytes,
            "sha256": bundle.sha256,
            "accuracy": 1.0 if exact else variant.accuracy,
            "metric": variant.metric,
        }

    async def _splits(self, whole: DeploymentSpec, principal: Principal) -> list[dict[str, Any]]:
        found = []
        for tail in self._runtime.service.all_versions():
            split = tail.spec.manifest.split
            if split is None or (split.model, split.address) != (whole.model, whole.address) or not tail.serves:
                continue
            opened = principal.models is None or tail.spec.model in principal.models
            bundle = await self._bundle(tail) if opened else None
            if bundle is not None:
                found.append(_split(tail, split, bundle))
        return found

    async def _bundle(self, served: Served) -> _Bundle | None:
        spec = served.spec
        key = spec.model, spec.version, spec.address
        if (known := self._bundles.get(key)) is not None:
            return known
        try:
            made = await asyncio.to_thread(self._runtime.memories.bundles.make, spec)
        except (NotFoundError, BadPackageError, UnsignedModelError):
            # It has none, or a damaged one, of which is told where it is fetched; here it is no place to compute at.
            return None
        self._bundles[key] = _Bundle(len(made.content), made.sha256)
        return self._bundles[key]


def _compute_ms(served: Served) -> float | None:
    """What one row takes by the measured curve; None where the model is not in memory, or generates text."""
    if not isinstance(served, Deployment):
        return None
    return served.scheduler.curve.predict(1) / 1e6 or None


def _variants(served: Sequence[Variant]) -> dict[str, Any]:
    """Those of which one answers a call, the most accurate first; nothing where there is but one."""
    if len(served) < 2:
        return {}
    return {"variants": [{"name": each.name, "accuracy": accuracy_of(each)} for each in served]}


def _codecs(spec: DeploymentSpec, tensor: str | None = None) -> list[dict[str, Any]]:
    return [
        {
            "tensor": entry.tensor,
            "codec": entry.codec,
            "accuracy": entry.accuracy,
            "metric": entry.metric,
            "bytes": entry.bytes,
        }
        for entry in spec.manifest.codecs
        if tensor in (None, entry.tensor)
    ]


def _split(tail: Version, split: SplitOf, bundle: _Bundle) -> dict[str, Any]:
    return {
        "model": tail.spec.model,
        "version": str(tail.spec.version),
        "tensor": split.tensor,
        "codecs": _codecs(tail.spec, split.tensor),
        "accuracy": split.accuracy,
        "metric": split.metric,
        "head_bytes": bundle.size_bytes,
        "head_sha256": bundle.sha256,
        "head_share": split.head_share,
    }


def _section(section: msgspec.Struct | None) -> dict[str, Any] | None:
    """Every field of a section of the manifest, those too that have their default there."""
    return None if section is None else msgspec.structs.asdict(section)
