"""All models that this process serves: which version a name means now, and the switch to a new one.

A switch loses no call: the new version is loaded and warm before the alias moves, and the old one finishes
what it accepted before it is unloaded. A version that fails to load leaves the old one serving.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

import structlog

from airserve.core.errors import AirserveError, NotFoundError
from airserve.metering.journal import Journal
from airserve.models.catalog import DeploymentSpec
from airserve.serving.deployment import Deployment
from airserve.serving.warmup import load_warm

log = structlog.get_logger("airserve.serving")

DEFAULT_ALIAS = "prod"


class Service:
    """The deployments of this process, by (model, version), and the aliases that point at them.

    Read by every event loop, changed by one thread (`reconcile`); a change replaces a table whole.
    """

    def __init__(self, journal: Journal, *, queue_capacity: int) -> None:
        self._journal = journal
        self._queue_capacity = queue_capacity
        self.deployments: dict[tuple[str, int], Deployment] = {}
        self.failed: dict[tuple[str, int], str] = {}
        self._aliases: dict[tuple[str, str], Deployment] = {}
        self._closing: list[threading.Thread] = []

    def resolve(self, model: str, version: str | None = None) -> Deployment:
        """The deployment that serves `model`: its `prod` alias, `name@alias`, or an exact version."""
        name, _, alias = model.partition("@")
        if version is None:
            deployment = self._aliases.get((name, alias or DEFAULT_ALIAS))
        else:
            deployment = self.deployments.get((name, int(version))) if version.isdecimal() else None
        if deployment is None:
            raise self._unknown(name, alias, version)
        return deployment

    def _unknown(self, name: str, alias: str, version: str | None) -> NotFoundError:
        if not any(model == name for model, _ in self.deployments):
            return NotFoundError(f"Request for unknown model: '{name}' is not found")
        if version is not None:
            return NotFoundError(f"Request for unknown model: '{name}' version {version} is not found")
        return NotFoundError(
            f"Request for unknown model: '{name}' has no available versions under the alias '{alias or DEFAULT_ALIAS}'"
        )

    def versions(self, model: str) -> list[int]:
        """The loaded versions of `model`, ascending."""
        return sorted(version for name, version in self.deployments if name == model)

    def models(self) -> list[str]:
        """The names with a loaded version, sorted."""
        return sorted({name for name, _ in self.deployments})

    def reconcile(self, specs: Iterable[DeploymentSpec]) -> None:
        """Make the loaded versions and aliases those of `specs`: load and warm, switch, drain, unload.

        Blocks while models load; old versions drain in threads of their own.
        """
        wanted = {(spec.model, spec.version): spec for spec in specs}
        self.failed = {key: why for key, why in self.failed.items() if key in wanted}
        for key, spec in wanted.items():
            if key not in self.deployments and key not in self.failed:
                self._load(spec)
        self._aliases = self._aliases_of(wanted)
        in_use = {(deployment.spec.model, deployment.spec.version) for deployment in self._aliases.values()}
        for key in [key for key in self.deployments if key not in in_use]:
            self._unload(key)

    def _aliases_of(self, wanted: dict[tuple[str, int], DeploymentSpec]) -> dict[tuple[str, str], Deployment]:
        aliases = {}
        for key, spec in wanted.items():
            for alias in spec.aliases:
                # Where the wanted version failed to load, the one that served before stays.
                deployment = self.deployments.get(key) or self._aliases.get((spec.model, alias))
                if deployment is not None:
                    aliases[spec.model, alias] = deployment
        return aliases

    def _load(self, spec: DeploymentSpec) -> None:
        try:
            warm = load_warm(spec)
        except (AirserveError, OSError) as error:
            self.failed[spec.model, spec.version] = str(error)
            log.error("model failed to load", model=spec.model, version=spec.version, reason=str(error))
            return
        deployment = Deployment(spec, warm, self._journal, queue_capacity=self._queue_capacity)
        self.deployments = {**self.deployments, (spec.model, spec.version): deployment}
        log.info(
            "model ready",
            model=spec.model,
            version=spec.version,
            workers=warm.workers,
            threads=warm.threads,
            batch_rows=warm.curve.best_batch(warm.max_rows),
            row_us=round(warm.curve.per_row_ns / 1e3, 1),
            batch_us=round(warm.curve.per_batch_ns / 1e3, 1),
        )

    def _unload(self, key: tuple[str, int]) -> None:
        deployment = self.deployments[key]
        self.deployments = {other: kept for other, kept in self.deployments.items() if other != key}
        thread = threading.Thread(target=deployment.close, name=f"unload-{key[0]}-{key[1]}", daemon=True)
        thread.start()
        self._closing = [other for other in self._closing if other.is_alive()] + [thread]
        log.info("model unloading", model=key[0], version=key[1])

    def close(self) -> None:
        """Let every accepted call finish and unload everything."""
        self._aliases = {}
        for key in list(self.deployments):
            self._unload(key)
        for thread in self._closing:
            thread.join()
