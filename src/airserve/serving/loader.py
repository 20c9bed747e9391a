"""Brings versions into memory and out of it, each in a thread of its own, within a bound of bytes.

Whoever needs a version shares one `Loading` with all others who do. A version that would not fit has idle ones give
way to it first; while all are busy, its load waits as long as anybody waits for it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable

import structlog

from airserve.core.errors import AirserveError, ModelFailedError, OverloadedError, TooLargeError
from airserve.engines.base import generates, load_generator
from airserve.metering.journal import Journal
from airserve.serving.deployment import Deployment
from airserve.serving.generation import GenerationDeployment
from airserve.serving.memory import give_back, keep_little, who_gives_way
from airserve.serving.version import Key, Loaded, Loading, State, Version
from airserve.serving.warmup import available_cores, load_warm

log = structlog.get_logger("airserve.serving")

GRACE_S = 1.0
"""A version that was switched away still serves calls that found it just before."""

SHORT_GRACE_S = 0.1
"""The same for one that an operator unloads, or that nobody called for a while."""

_LOOK_EVERY_S = 0.02


class Loader:
    """Changes the state of versions, under its lock, which is held for microseconds."""

    def __init__(self, journal: Journal, *, queue_capacity: int, memory_bytes: int | None) -> None:
        self._journal = journal
        self._queue_capacity = queue_capacity
        self._memory_bytes = memory_bytes
        self._lock = threading.Lock()
        # In memory, or on the way there.
        self._holding: set[Version] = set()
        self._closing: list[threading.Thread] = []
        keep_little()

    def fits(self, version: Version) -> bool:
        """Whether there is room without anybody giving way."""
        with self._lock:
            bound = self._memory_bytes
            return bound is None or who_gives_way(self._holding, version.weight_bytes, bound) == []

    def begin(self, version: Version, until_ns: int, *, again: bool = False, over_bound: bool = False) -> Loading:
        """What becomes of loading `version`, begun now unless it is under way (or done, and not wanted `again`).

        Room is waited for until `until_ns`, the latest of all who ask; `over_bound` takes it.
        """
        with self._lock:
            if version.loading is not None:
                version.awaited_until_ns = max(version.awaited_until_ns, until_ns)
                return version.loading
            loading = Loading()
            loading.set_running_or_notify_cancel()
            if version.deployment is not None and not again:
                loading.set_result(version.deployment)
                return loading
            if not version.serves and not again:
                loading.set_exception(version.unavailable())
                return loading
            version.loading, version.awaited_until_ns = loading, until_ns
            over_bound = over_bound or version.deployment is not None
            if version.deployment is None:
                version.state, version.reason = State.LOADING, ""
        model, number = version.key
        threading.Thread(
            target=self._load, args=(version, loading, over_bound), name=f"load-{model}-{number}", daemon=True
        ).start()
        return loading

    def release(self, version: Version, state: State, reason: str, grace_s: float = GRACE_S) -> threading.Thread | None:
        """Take `version` out of memory, in a thread that ends when its calls have; None where it is not in memory."""
        with self._lock:
            deployment = self._let_go(version, state, reason)
        return self._close(version.key, deployment, grace_s)

    def close(self) -> None:
        """Wait until everything that was released is gone."""
        wait_for(self._closing)

    def _load(self, version: Version, loading: Loading, over_bound: bool) -> None:
        """Load `version` and tell `loading` how it went. The body of a thread."""
        try:
            self._make_room(version, over_bound)
            started_ns = time.monotonic_ns()
            deployment = self._deploy(version)
        except Exception as error:
            loading.set_exception(self._failed(version, error))
            return
        version.load_ns = time.monotonic_ns() - started_ns
        with self._lock:
            version.loading, version.loaded_ns = None, time.time_ns()
            leaving: Loaded | None = deployment
            if version.state is State.UNLOADED:
                self._holding.discard(version)
            else:
                leaving, version.deployment = version.deployment, deployment
                version.state, version.reason = State.READY, ""
        # The one before, or the new one where nobody wants it any more; those who waited for it are still served.
        self._close(version.key, leaving)
        loading.set_result(deployment)

    def _failed(self, version: Version, error: Exception) -> AirserveError:
        """Note that `version` could not be loaded, and what those who wait are told."""
        reason = str(error) if isinstance(error, AirserveError | OSError) else f"{type(error).__name__}: {error}"
        no_room = isinstance(error, OverloadedError)
        tell = log.warning if no_room else log.error
        tell("model failed to load", model=version.spec.model, version=version.spec.version, reason=reason)
        with self._lock:
            version.loading, version.reason = None, reason
            if version.deployment is None:
                self._holding.discard(version)
                if version.serves:
                    version.state = State.ASLEEP if no_room else State.FAILED
        return error if isinstance(error, AirserveError) else ModelFailedError(f"the model cannot load: {reason}")

    def _deploy(self, version: Version) -> Loaded:
        spec = version.spec
        deployment: Loaded
        if generates(spec.manifest.engine):
            generator = load_generator(spec.manifest.engine, spec.source, threads=available_cores())
            log.info("model ready", model=spec.model, version=spec.version, slots=generator.slots)
            deployment = GenerationDeployment(spec, generator, self._journal, queue_capacity=self._queue_capacity)
        else:
            warm = load_warm(spec)
            log.info(
                "model ready",
                model=spec.model,
                version=spec.version,
                workers=warm.workers,
                threads=warm.threads,
                variants=[each.name for each in warm.variants],
                batch_rows=warm.curve.best_batch(warm.max_rows),
                row_us=round(warm.curve.per_row_ns / 1e3, 1),
                batch_us=round(warm.curve.per_batch_ns / 1e3, 1),
            )
            deployment = Deployment(spec, warm, self._journal, queue_capacity=self._queue_capacity, taps=version.taps)
        # Counters go on where they were when the version was in memory before.
        deployment.statistics = version.statistics
        return deployment

    def _make_room(self, version: Version, over_bound: bool) -> None:
        """Have others give way to `version`, and wait until they have; raises `OverloadedError` while they are busy."""
        bound, needed = self._memory_bytes, version.weight_bytes
        if bound is not None and needed > bound and not over_bound:
            raise TooLargeError(
                f"the weights take {needed / 1e6:.1f} MB and model_memory_mb allows {bound / 1e6:.1f} MB in all"
            )
        while True:
            with self._lock:
                leaving = [] if bound is None else who_gives_way(self._holding - {version}, needed, bound)
                if leaving is not None or over_bound:
                    self._holding.add(version)
                    closing = [(each.key, self._let_go(each, State.ASLEEP, "gave way")) for each in leaving or ()]
                    break
            if not version.serves:
                raise version.unavailable()
            if time.monotonic_ns() >= version.awaited_until_ns:
                raise OverloadedError("no memory for this model while all others are busy; come back", retry_after=1.0)
            time.sleep(_LOOK_EVERY_S)
        wait_for([self._close(key, deployment, SHORT_GRACE_S) for key, deployment in closing])

    def _let_go(self, version: Version, state: State, reason: str) -> Loaded | None:
        """The deployment of `version`, which it has no more. The lock is held."""
        deployment, version.deployment = version.deployment, None
        version.state, version.reason = state, reason
        if version.loading is None:
            self._holding.discard(version)
        return deployment

    def _close(self, key: Key, deployment: Loaded | None, grace_s: float = GRACE_S) -> threading.Thread | None:
        """Let every accepted call finish and free the memory, in a thread."""
        if deployment is None:
            return None
        log.info("model unloading", model=key[0], version=key[1])
        thread = threading.Thread(
            target=_close, args=(deployment, grace_s), name=f"unload-{key[0]}-{key[1]}", daemon=True
        )
        thread.start()
        with self._lock:
            self._closing = [other for other in self._closing if other.is_alive()] + [thread]
        return thread


def _close(deployment: Loaded, grace_s: float) -> None:
    deployment.close(grace_s)
    give_back()


def wait_for(threads: Iterable[threading.Thread | None]) -> None:
    """Wait until all of them have ended."""
    for thread in threads:
        if thread is not None:
            thread.join()
