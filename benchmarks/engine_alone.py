"""Our engines called directly in this process: what a model with its step costs before anybody serves it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from airserve.engines import Model, Source, load_model
from airserve.models.package import open_package

Array = np.ndarray[Any, Any]


def source(folder: Path) -> Source:
    """What loads the package in `folder`."""
    manifest = open_package(folder).manifest
    return Source(
        folder=folder,
        file=manifest.variants[0].file,
        signature=manifest.signature,
        labels=manifest.labels,
        vision=manifest.vision,
        text=manifest.text,
        language=manifest.language,
    )


class Alone:
    """A package's engine on two cores, in the ways a program of its own could use it."""

    def __init__(self, folder: Path) -> None:
        given = source(folder)
        self._one = load_model("onnx", given, threads=1)
        self._two = load_model("onnx", given, threads=2)

    def answer(self, name: str, items: Sequence[bytes]) -> dict[str, Array]:
        """The outputs for these items of the input `name`."""
        return self._one.run({name: _bytes(items)})

    def rows_per_s(self, name: str, item: bytes, batch: int, *, seconds: float) -> float:
        """The best of: two callers with one row each, one caller with two threads, and that one with `batch` rows."""
        single, many = {name: _bytes([item])}, {name: _bytes([item] * batch)}
        return max(
            _callers(lambda: self._one.run(single), 2, seconds),
            _callers(lambda: self._two.run(single), 1, seconds),
            _callers(lambda: self._two.run(many), 1, seconds) * batch,
        )

    def close(self) -> None:
        models: tuple[Model, ...] = (self._one, self._two)
        for model in models:
            model.close()


def _bytes(items: Sequence[bytes]) -> Array:
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array


def _callers(run: Callable[[], Any], callers: int, seconds: float) -> float:
    """Runs per second of so many threads."""
    run()
    counts: list[int] = []
    end = time.perf_counter() + seconds

    def call() -> None:
        count = 0
        while time.perf_counter() < end:
            run()
            count += 1
        counts.append(count)

    threads = [threading.Thread(target=call) for _ in range(callers)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - began)
