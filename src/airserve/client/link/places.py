"""What a client knows of the places that can answer: offers of the service, and the bundles loaded on the device."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from airserve.client.calls import Settings
from airserve.client.link.bundle_cache import BundleCache
from airserve.client.link.bundle_fetch import fetch
from airserve.client.link.device_place import DevicePlace, open_place
from airserve.client.link.offer import Offer
from airserve.client.link.paths import Paths
from airserve.core.errors import AirserveError

_FRESH_S = 300.0
_AGAIN_AFTER_S = 30.0


@dataclass(slots=True)
class _Known:
    offer: Offer
    at: float


class Places:
    """Offers by model and version, loaded bundles by SHA-256. All of it runs on one event loop."""

    def __init__(self, paths: Paths, settings: Settings, cache: BundleCache) -> None:
        self._paths, self._settings, self._cache = paths, settings, cache
        self._offers: dict[tuple[str, str | None], _Known] = {}
        self._loaded: dict[str, DevicePlace] = {}
        self._failed_at: dict[str, float] = {}
        self._tasks: dict[str, asyncio.Task[Any]] = {}

    def offer(self, model: str, version: str | None) -> tuple[Offer | None, bool]:
        """What is known to be offered, and whether that is fresh; None where nothing is."""
        known = self._offers.get((model, version))
        if known is not None:
            return known.offer, time.monotonic() - known.at < _FRESH_S
        kept = self._cache.kept_offer(self._settings.url, model, version)
        if kept is not None:
            self._offers[model, version] = _Known(kept, time.monotonic() - _FRESH_S)
        return kept, False

    def learn_nothing(self, model: str, version: str | None) -> None:
        """The service offers nothing but itself, or does not know the model; it is asked again after half a minute."""
        self._offers[model, version] = _Known(Offer(model), time.monotonic() - _FRESH_S + _AGAIN_AFTER_S)

    def learn(self, offer: Offer, version: str | None) -> None:
        """The service has said what it offers."""
        self._offers[offer.model, version] = _Known(offer, time.monotonic())
        if offer.device is not None:
            self._cache.keep_offer(self._settings.url, offer, version)

    def device(self, sha256: str | None) -> DevicePlace | None:
        """The bundle with this digest, if it is loaded."""
        return None if sha256 is None else self._loaded.get(sha256)

    async def load(self, model: str, version: str | int | None, sha256: str) -> DevicePlace:
        """The bundle, fetched and loaded if it is not yet; one download however many calls ask."""
        if (loaded := self._loaded.get(sha256)) is not None:
            return loaded
        task = self._tasks.get(sha256)
        if task is None:
            task = self.start(sha256, self._load(model, version, sha256))
        found: DevicePlace = await asyncio.shield(task)
        return found

    def fetch_beside(self, model: str, version: str | int | None, sha256: str) -> None:
        """Begin to load the bundle and do not wait; what failed is tried again after half a minute."""
        tried_at = self._failed_at.get(sha256)
        if sha256 in self._loaded or sha256 in self._tasks:
            return
        if tried_at is None or time.monotonic() - tried_at > _AGAIN_AFTER_S:
            self.start(sha256, self._load(model, version, sha256))

    def is_on_disk(self, sha256: str) -> bool:
        """Whether loading it needs no link."""
        return self._cache.find(sha256) is not None

    def start(self, name: str, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run `work` in the background, under a name of which there is one at a time."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks[name] = task

        def ended(done: asyncio.Task[Any]) -> None:
            self._tasks.pop(name, None)
            # Asked for, so that nobody is told of an exception that was never retrieved.
            if not done.cancelled():
                done.exception()

        task.add_done_callback(ended)
        return task

    def is_running(self, name: str) -> bool:
        """Whether background work of this name has not ended."""
        return name in self._tasks

    async def close(self) -> None:
        """End what runs in the background and free the models."""
        running = list(self._tasks.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        for place in self._loaded.values():
            place.close()
        self._loaded.clear()

    async def _load(self, model: str, version: str | int | None, sha256: str) -> DevicePlace:
        try:
            bundle = await fetch(self._paths, self._settings, self._cache, model, version, sha256)
            place = await open_place(bundle)
        except AirserveError:
            self._failed_at[sha256] = time.monotonic()
            raise
        self._loaded[sha256] = place
        return place
