"""A model on the device: a bundle run by ONNX Runtime, and how long that takes."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import deque
from pathlib import Path

from airserve.client.link.pessimism import quantile
from airserve.core.call import Tensors
from airserve.core.errors import InvalidInputError
from airserve.engines.base import Model

_PROFILED = 5
UNKNOWN_S = 0.05
"""What a run takes before any was timed: slow enough that no deadline is missed for a guess."""


class DevicePlace:
    """One loaded bundle. `run` computes on a thread, beside the event loop."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self._seconds: deque[float] = deque(maxlen=20)
        self._lock = threading.Lock()

    @property
    def p50_s(self) -> float:
        """The median of the last runs, seconds."""
        return quantile(tuple(self._seconds), 0.5) if self._seconds else UNKNOWN_S

    @property
    def p95_s(self) -> float:
        """The 95th percentile of the last runs; with few of them half as much again as the longest."""
        if not self._seconds:
            return 2 * UNKNOWN_S
        seen = tuple(self._seconds)
        return quantile(seen, 0.95) if len(seen) >= 20 else 1.5 * max(seen)

    async def run(self, inputs: Tensors) -> Tensors:
        """The model's outputs for `inputs`."""
        return await asyncio.to_thread(self._timed, inputs)

    async def profile(self) -> None:
        """Run the model on its own example a few times: the first run warms it up and is not counted."""
        await asyncio.to_thread(self._profile)

    def close(self) -> None:
        """Free the model."""
        self.model.close()

    def _profile(self) -> None:
        example = self.model.example(1)
        self.model.run(example)
        for _ in range(_PROFILED):
            self._timed(example)

    def _timed(self, inputs: Tensors) -> Tensors:
        began = time.perf_counter()
        outputs = self.model.run(inputs)
        took = time.perf_counter() - began
        with self._lock:
            self._seconds.append(took)
        return outputs


async def open_place(bundle: Path) -> DevicePlace:
    """The model in a bundle, loaded and timed. Raises `InvalidInputError` where ONNX Runtime is not installed."""
    place = DevicePlace(await asyncio.to_thread(_load, bundle))
    await place.profile()
    return place


def _load(bundle: Path) -> Model:
    try:
        from airserve.engines.bundle import load_bundle

        return load_bundle(bundle, threads=max(1, (os.cpu_count() or 2) // 2))
    except ImportError as error:
        need = f"answers on the device need another package ({error.name}): pip install 'airserve[device]'"
        raise InvalidInputError(need) from None
