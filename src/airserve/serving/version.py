"""One version that this process serves, whether its weights are in memory or not."""

from __future__ import annotations

import asyncio
import enum
import time
from collections.abc import Callable
from concurrent.futures import Future

from airserve.core.errors import AirserveError, NotFoundError, OverloadedError
from airserve.models.catalog import DeploymentSpec
from airserve.models.loaded_variants import weights_of
from airserve.serving.deployment import Deployment
from airserve.serving.generation import GenerationDeployment
from airserve.serving.statistics import Statistics
from airserve.serving.taps import Taps

Loaded = Deployment | GenerationDeployment
"""One loaded version: of a model of tensors, or of one that generates text."""

Loading = Future[Loaded]
Key = tuple[str, int]
"""A model's name and the number of one of its versions."""


class State(enum.Enum):
    """Where a version is. An `ASLEEP` one is loaded by its next call, an `UNLOADED` one by an operator alone."""

    ASLEEP = "asleep"
    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"
    UNLOADED = "unloaded"


class Version:
    """What outlives the loading and unloading of a version. `deployment` is None while its weights are not in memory.

    The loader changes it, under its lock. `reason` says why it is not ready; `loaded_ns` (UTC) is when it was loaded
    last, `load_ns` how long that took, 0 where it never was; `awaited_until_ns` (monotonic) is how long somebody waits.
    `taps` look at calls of tensors.
    """

    def __init__(self, spec: DeploymentSpec, begin_load: Callable[[Version, int], Loading]) -> None:
        self.spec = spec
        self.signature = spec.manifest.signature
        self.statistics = Statistics()
        self.taps = Taps()
        self.weight_bytes = sum(each.size_bytes for each in weights_of(spec.manifest))
        self.deployment: Loaded | None = None
        self.loading: Loading | None = None
        self.state = State.ASLEEP
        self.reason = ""
        self.loaded_ns = self.load_ns = self.awaited_until_ns = 0
        self._begin_load = begin_load

    @property
    def key(self) -> Key:
        """Model and version."""
        return self.spec.model, self.spec.version

    @property
    def serves(self) -> bool:
        """Whether a call gets an answer, at once or after loading."""
        return self.state not in (State.FAILED, State.UNLOADED)

    @property
    def used_ns(self) -> int:
        """When it was loaded or ended a call, the later of the two, UTC."""
        return max(self.loaded_ns, self.statistics.last_ns)

    def unavailable(self) -> AirserveError:
        """The refusal of a call to a version that does not serve."""
        model, number = self.key
        if self.state is State.FAILED:
            return NotFoundError(
                f"Request for unknown model: '{model}' has no available versions: version {number} failed to load"
            )
        return OverloadedError(
            f"Request for unknown model: '{model}' version {number} is not at ready state: it is unloaded"
        )

    async def ready(self, deadline_ns: int) -> Loaded:
        """The loaded version, waited for until the deadline (on the clock of `time.monotonic_ns`).

        Raises `OverloadedError` where loading takes longer than that: it goes on, for those who come back.
        """
        loading = asyncio.wrap_future(self._begin_load(self, deadline_ns))
        # Who stops waiting does not want to hear of it any more.
        loading.add_done_callback(lambda done: done.cancelled() or done.exception())
        left_ns = deadline_ns - time.monotonic_ns()
        if self.load_ns < left_ns:
            # A task that is cancelled here leaves the loading to the others: `wait` cancels nothing.
            await asyncio.wait({loading}, timeout=left_ns / 1e9)
        if not loading.done():
            model, number = self.key
            raise OverloadedError(
                f"Request for unknown model: '{model}' version {number} is not at ready state: it is being loaded",
                retry_after=max(self.load_ns / 1e9, 1.0),
            )
        try:
            return loading.result()
        except AirserveError:
            if self.serves:
                raise
            raise self.unavailable() from None
