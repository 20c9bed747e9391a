"""A catalog and a journal in one folder, and services in this process that follow them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import numpy as np

from airserve.core.call import Array, Call
from airserve.metering.journal import Journal
from airserve.metering.prices import Price
from airserve.models.catalog import Catalog
from airserve.serving.deployment import Deployment
from airserve.serving.service import Service
from airserve.serving.version import Version
from airserve.storage.database import Database

FREE = Price(0, "*", 0, 0, "EUR")
_ids = count()


class House:
    """One state folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = Database.open(folder)
        self.catalog = Catalog(self.database, folder / "store")
        self.journal = Journal.open(folder / "journal", "node0", durability="os")

    def publish(self, name: str, path: Path, alias: str | None = "prod") -> int:
        return self.catalog.publish(path, name=name, alias=alias).version

    def weights(self, name: str, version: int = 1) -> Path:
        (info,) = [info for info in self.catalog.show(name) if info.version == version]
        return self.folder / "store" / info.address / "model.onnx"

    @contextmanager
    def service(self, memory_mb: float | None = None, *, at_start: bool = True) -> Iterator[Service]:
        bound = None if memory_mb is None else int(memory_mb * 1e6)
        service = Service(self.journal, queue_capacity=64, memory_bytes=bound, load_at_start=at_start)
        self.reconcile(service)
        try:
            yield service
        finally:
            service.close()

    def reconcile(self, service: Service) -> None:
        service.reconcile(self.catalog.deployments())

    def close(self) -> None:
        self.journal.close()
        self.database.close()


async def infer(service: Service, model: str, x: Array, *, seconds: float = 30, version: str | None = None) -> Array:
    """What a protocol does with one call."""
    deadline_ns = time.monotonic_ns() + int(seconds * 1e9)
    served = service.resolve(model, version)
    if isinstance(served, Version):
        served = await served.ready(deadline_ns)
    assert isinstance(served, Deployment)
    rows = len(x) if served.signature.max_batch else 1
    call = Call(f"c{next(_ids)}", served.spec.model, {"x": x}, rows, deadline_ns, "t", "k")
    return (await served.infer(call, FREE)).outputs["y"]


def ones(width: int, rows: int = 1) -> Array:
    return np.ones((rows, width), np.float32)
