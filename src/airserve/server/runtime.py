"""The composition root: everything one serving process owns, built from settings, started and stopped."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import structlog

from airserve.accounts import load_directory, load_or_create_pepper
from airserve.metering.journal import Journal
from airserve.metering.ledger import last_epoch
from airserve.metering.prices import PriceBook, load_prices
from airserve.models.catalog import Catalog, DeploymentSpec
from airserve.server.keeper import Keeper
from airserve.server.settings import Settings
from airserve.serving.gate import Gate
from airserve.serving.service import Service
from airserve.storage.database import Database

log = structlog.get_logger("airserve.server")

NODE_ID = "node0"


def journal_folder(settings: Settings) -> Path:
    """Where the usage journal of a state folder lies."""
    return settings.state_dir / "journal"


class Runtime:
    """One process's database, journal, gate, models and keeper."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.draining = False
        self.prices: PriceBook
        self._in_flight = 0
        self._lock = threading.Lock()
        self._closed = False
        self._database = Database.open(settings.state_dir)
        self._pepper = load_or_create_pepper(settings.state_dir)
        self._journal = Journal.open(
            journal_folder(settings),
            NODE_ID,
            after_epoch=last_epoch(self._database, NODE_ID),
            durability=settings.durability,
        )
        self._catalog = Catalog(self._database, settings.state_dir / "store")
        self.gate = Gate(load_directory(self._database, self._pepper))
        bound = settings.model_memory_mb
        self.service = Service(
            self._journal,
            queue_capacity=settings.queue_capacity,
            memory_bytes=None if bound is None else int(bound * 1e6),
            load_at_start=settings.load_models == "start",
        )
        # A model may take minutes to load; keys and prices are followed all the same.
        self._switching = ThreadPoolExecutor(1, "switch")
        self._refresh()
        self._switching.submit(lambda: None).result()
        self._keeper = Keeper(self._database.change_counter, self._refresh)
        self._keeper.start()

    def _refresh(self) -> None:
        self.gate.directory = load_directory(self._database, self._pepper)
        self.prices = load_prices(self._database)
        self._switching.submit(self._reconcile, self._catalog.deployments())

    def _reconcile(self, specs: Sequence[DeploymentSpec]) -> None:
        try:
            self.service.reconcile(specs)
        except Exception:
            log.exception("the models that are served could not be changed")

    def load_model(self, model: str) -> None:
        """Load, or load again, what the catalog's aliases of `model` point at now. Blocks; see `Service.load`."""
        self.service.reconcile(self._catalog.deployments())
        self.service.load(model)

    @property
    def ready(self) -> bool:
        """Whether every model that should be served is, and the service takes calls."""
        return not self.draining and not self.service.failed

    def begin(self) -> None:
        """One inference call has come in."""
        with self._lock:
            self._in_flight += 1

    def end(self) -> None:
        """One inference call has been answered."""
        with self._lock:
            self._in_flight -= 1

    @property
    def in_flight(self) -> int:
        """Calls that came in and were not answered yet."""
        return self._in_flight

    async def drain(self) -> bool:
        """Refuse new calls and wait for the accepted ones, at most `drain_seconds`; whether all finished."""
        self.draining = True
        end = time.monotonic() + self.settings.drain_seconds
        while self._in_flight and time.monotonic() < end:
            await asyncio.sleep(0.01)
        log.info("drained", unfinished=self._in_flight)
        return not self._in_flight

    def close(self) -> None:
        """Stop everything, once, after every accepted call has been answered."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self.draining = True
        self._keeper.stop()
        self._switching.shutdown()
        self.service.close()
        self._journal.close()
        self._database.close()
