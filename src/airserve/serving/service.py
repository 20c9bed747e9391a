"""All models that this process serves: which version a name means now, and which of them are in memory.

What the catalog's aliases point at is served. A switch to a new version loses no call: the new one is loaded and warm
before the alias moves, and the old one finishes what it accepted before it is unloaded. A version that fails to load
leaves the old one serving.

Not every version that is served is in memory. Where `memory_bytes` bounds the weights, the least recently used idle
version gives way to one that is called, and is loaded again by its own next call. Every load runs in a thread of its
own, so that it holds up nobody but the calls that need it: `resolve` gives them the `Version` in place of its
deployment, and they wait for `Version.ready` within their deadline. An operator can unload a model; then it answers
nobody until an operator loads it.

While an alias is rolled out to another version, a `Detour` takes part of the tenants there (`serving/rollout/`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence

from airserve.core.errors import AirserveError, InvalidInputError, NotFoundError, OverloadedError
from airserve.metering.journal import Journal
from airserve.models.catalog import DeploymentSpec
from airserve.serving.loader import SHORT_GRACE_S, Loader, wait_for
from airserve.serving.rollout.routing import Detour
from airserve.serving.version import Key, Loaded, State, Version

DEFAULT_ALIAS = "prod"

_OPERATOR_WAITS_NS = 30_000_000_000

Served = Loaded | Version
"""What answers calls to a version: its deployment, or, while its weights are not in memory, what becomes one."""


class Service:
    """The versions of this process, by (model, version), and the aliases that point at them.

    Read by every event loop without a lock: a change replaces a table whole. `load_at_start` False leaves every
    version to its first call.
    """

    def __init__(
        self, journal: Journal, *, queue_capacity: int, memory_bytes: int | None = None, load_at_start: bool = True
    ) -> None:
        self._loader = Loader(journal, queue_capacity=queue_capacity, memory_bytes=memory_bytes)
        self._load_at_start = load_at_start
        self._versions: dict[Key, Version] = {}
        self._aliases: dict[tuple[str, str], Version] = {}
        self._detours: dict[tuple[str, str], Detour] = {}
        self._wanted: dict[Key, DeploymentSpec] = {}
        self._unloaded: set[str] = set()
        # Held while models load: what is served changes one step at a time.
        self._changing = threading.Lock()

    def resolve(self, model: str, version: str | None = None, tenant_id: str | None = None) -> Served:
        """What serves `model`: its `prod` alias, `name@alias`, or an exact version.

        Calls bring their `tenant_id`: an alias that is being rolled out may lead some tenants to its new version.
        """
        found = self.find(model, version)
        if self._detours and version is None and tenant_id is not None:
            found = self._by_detour(model, found, tenant_id)
        deployment = found.deployment
        if deployment is not None:
            return deployment
        if not found.serves:
            raise found.unavailable()
        return found

    def detour(self, model: str, alias: str, detour: Detour | None) -> None:
        """Have part of the calls to an alias answered elsewhere, from the next call on; None ends that."""
        others = {key: each for key, each in self._detours.items() if key != (model, alias)}
        self._detours = others if detour is None else {**others, (model, alias): detour}

    def keep_loaded(self, version: Version) -> None:
        """Begin to load a version that gave way to others, as a call to it would."""
        if version.deployment is None and version.loading is None and version.serves:
            self._loader.begin(version, time.monotonic_ns() + _OPERATOR_WAITS_NS)

    def _by_detour(self, model: str, found: Version, tenant_id: str) -> Version:
        name, _, alias = model.partition("@")
        detour = self._detours.get((name, alias or DEFAULT_ALIAS))
        return detour.version if detour is not None and detour.takes(tenant_id) else found

    def find(self, model: str, version: str | None = None) -> Version:
        """The version that a call means, whether it serves or not. Raises `NotFoundError`."""
        name, _, alias = model.partition("@")
        if version is None:
            found = self._aliases.get((name, alias or DEFAULT_ALIAS))
        else:
            found = self._versions.get((name, int(version))) if version.isdecimal() else None
        if found is None:
            raise self._unknown(name, alias, version)
        return found

    def _unknown(self, name: str, alias: str, version: str | None) -> NotFoundError:
        if not any(model == name for model, _ in self._versions):
            return NotFoundError(f"Request for unknown model: '{name}' is not found")
        if version is not None:
            return NotFoundError(f"Request for unknown model: '{name}' version {version} is not found")
        return NotFoundError(
            f"Request for unknown model: '{name}' has no available versions under the alias '{alias or DEFAULT_ALIAS}'"
        )

    def all_versions(self, model: str | None = None) -> Sequence[Version]:
        """Every version (of `model`), by name and number, whatever its state."""
        found = [version for version in self._versions.values() if model in (None, version.spec.model)]
        return sorted(found, key=lambda version: version.key)

    def versions(self, model: str) -> list[int]:
        """The versions of `model` that answer calls, ascending."""
        return [version.spec.version for version in self.all_versions(model) if version.serves]

    def models(self) -> list[str]:
        """The names with a version that answers calls, sorted."""
        return sorted({version.spec.model for version in self._versions.values() if version.serves})

    @property
    def deployments(self) -> dict[Key, Loaded]:
        """What is in memory."""
        found = {key: version.deployment for key, version in self._versions.items()}
        return {key: deployment for key, deployment in found.items() if deployment is not None}

    @property
    def failed(self) -> dict[Key, str]:
        """Why each version that should serve cannot be loaded."""
        return {key: version.reason for key, version in self._versions.items() if version.state is State.FAILED}

    def reconcile(self, specs: Iterable[DeploymentSpec]) -> None:
        """Make the versions and aliases those of `specs`: load and warm, switch, drain, unload.

        Blocks while models load; old versions drain in threads of their own.
        """
        with self._changing:
            self._wanted = {(spec.model, spec.version): spec for spec in specs}
            for key, spec in self._wanted.items():
                if key in self._versions:
                    self._versions[key].spec = spec
                else:
                    self._add(spec)
            self._switch()

    def load(self, model: str) -> None:
        """Load again what the aliases of `model` point at; what serves now goes on until then, and after a failure.

        Blocks. Raises `NotFoundError` where nothing is published, else why a version cannot be loaded.
        """
        with self._changing:
            versions = [version for version in self.all_versions(model) if version.key in self._wanted]
            if not versions:
                raise NotFoundError(f"failed to load '{model}', no version of it is published under an alias")
            self._unloaded.discard(model)
            failures = []
            for version in versions:
                try:
                    self._loader.begin(version, time.monotonic_ns() + _OPERATOR_WAITS_NS, again=True).result()
                except AirserveError as error:
                    failures.append(error)
            self._switch()
        if failures:
            busy = isinstance(failures[0], OverloadedError)
            message = f"failed to load '{model}', {failures[0].message}"
            raise OverloadedError(message, retry_after=1.0) if busy else InvalidInputError(message)

    def unload(self, model: str) -> None:
        """Let the accepted calls of `model` finish and take it out of memory until it is loaded again. Blocks."""
        with self._changing:
            versions = self.all_versions(model)
            if not versions:
                raise NotFoundError(f"Request for unknown model: '{model}' is not found")
            self._unloaded.add(model)
            threads = [self._loader.release(version, State.UNLOADED, "unloaded", SHORT_GRACE_S) for version in versions]
        wait_for(threads)

    def _add(self, spec: DeploymentSpec) -> None:
        """Take in a version that is new here, and load it now if that is due."""
        version = Version(spec, self._loader.begin)
        self._versions = {**self._versions, version.key: version}
        if spec.model in self._unloaded:
            version.state, version.reason = State.UNLOADED, "unloaded"
        # One that no alias points at is to take the place of another by and by.
        replaces = not spec.aliases or any((spec.model, alias) in self._aliases for alias in spec.aliases)
        if version.serves and (replaces or (self._load_at_start and self._loader.fits(version))):
            # Known to be good before it takes the place of another.
            self._loader.begin(version, time.monotonic_ns(), over_bound=replaces).exception()

    def _switch(self) -> None:
        """Point the aliases where the catalog says, and part with what none points at."""
        aliases: dict[tuple[str, str], Version] = {}
        for key, spec in self._wanted.items():
            for alias in spec.aliases:
                version, standing = self._versions[key], self._aliases.get((spec.model, alias))
                # Where the wanted version failed to load, the one that served before stays.
                stays = standing is not None and version.state is State.FAILED
                aliases[spec.model, alias] = standing if stays and standing is not None else version
        self._aliases = aliases
        kept = {version.key for version in aliases.values()} | set(self._wanted)
        leaving = [version for key, version in self._versions.items() if key not in kept]
        self._versions = {key: version for key, version in self._versions.items() if key in kept}
        for version in leaving:
            self._loader.release(version, State.UNLOADED, "replaced")

    def close(self) -> None:
        """Let every accepted call finish and unload everything."""
        with self._changing:
            self._aliases = {}
            versions = list(self._versions.values())
            self._versions = {}
            for version in versions:
                loading = version.loading
                self._loader.release(version, State.UNLOADED, "the server stops")
                if loading is not None:
                    loading.exception()
        self._loader.close()
