"""The composition root: everything one serving process owns, built from settings, started and stopped."""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import structlog

from airserve.accounts import load_directory
from airserve.core.errors import AirserveError, DamagedLogError, OverloadedError
from airserve.metering.journal import Journal
from airserve.metering.ledger import fold, last_epoch
from airserve.metering.prices import PriceBook, load_prices
from airserve.metering.unfinished import end_unfinished
from airserve.models.catalog import Catalog, DeploymentSpec
from airserve.server.guesses import Guesses
from airserve.server.idempotency import Idempotency
from airserve.server.installation import (
    journal_folder,
    load_pepper,
    node_id,
    open_catalog,
    open_database,
    payload_folder,
)
from airserve.server.keeper import Keeper
from airserve.server.memories import Memories
from airserve.server.payload_log import PayloadLog
from airserve.server.payload_writer import PayloadWriter
from airserve.server.settings import Settings
from airserve.server.treasurer import Treasurer
from airserve.serving.admission import Admissions
from airserve.serving.drift.watches import DriftWatches
from airserve.serving.gate import Gate
from airserve.serving.rollout.rollouts import Rollouts
from airserve.serving.service import Service
from airserve.storage import Database
from airserve.storage.audit_checkpoints import sign_newest

log = structlog.get_logger("airserve.server")


class Runtime:
    """One process's database, journal, gate, models and keeper."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.draining = False
        self.guesses = Guesses()
        self.memories = Memories(settings)
        self.prices: PriceBook
        self._in_flight = 0
        self._lock = threading.Lock()
        self._closed = False
        self._database = open_database(settings)
        self._pepper = load_pepper(settings, self._database)
        node = node_id(settings)
        self._journal = Journal.open(
            journal_folder(settings),
            node,
            after_epoch=last_epoch(self._database, node),
            durability=settings.durability,
        )
        self.admissions = Admissions(stamp=self._journal.admit)
        self.idempotency = Idempotency(self._database, node, self._journal.epoch, settings.max_body_bytes)
        self._treasurer = self._start_treasurer(node)
        self._catalog = open_catalog(settings, self._database)
        self.payloads = PayloadWriter(
            PayloadLog(payload_folder(settings), self._catalog.store.policy.key, run=secrets.token_hex(4))
        )
        self.gate = Gate(load_directory(self._database, self._pepper))
        bound = settings.model_memory_mb
        self.service = Service(
            self._journal,
            queue_capacity=settings.queue_capacity,
            memory_bytes=None if bound is None else int(bound * 1e6),
            load_at_start=settings.load_models == "start",
        )
        self.drift = DriftWatches()
        # A model may take minutes to load; keys and prices are followed all the same.
        self._switching = ThreadPoolExecutor(1, "switch")
        self.rollouts = Rollouts(self._database, self.service, node)
        self._refresh()
        self._switching.submit(lambda: None).result()
        self.rollouts.start()
        self._keeper = Keeper(self._database.change_counter, self._refresh, self._note_last_used)
        self._keeper.start()

    def _start_treasurer(self, node: str) -> Treasurer:
        # What the last start of this node did is in the ledger before its leases are freed.
        folder = journal_folder(self.settings)
        try:
            fold(self._database, folder)
            if end_unfinished(self._database, self._journal, node):
                fold(self._database, folder)
            before_epoch = self._journal.epoch
        except AirserveError as error:
            log.error("usage of an earlier start could not be folded, so its credit stays where it is",
                      reason=error.message)  # fmt: skip
            before_epoch = 0
        treasurer = Treasurer(self._database, self.admissions, node, self._journal.epoch, self._tidy)
        treasurer.free(before_epoch)
        treasurer.start()
        return treasurer

    def _tidy(self) -> None:
        """Forget what is too old to be asked for again."""
        self.memories.forget_expired(time.monotonic_ns())
        self.idempotency.tidy()

    def _refresh(self) -> None:
        self.gate.directory = load_directory(self._database, self._pepper)
        self.prices = load_prices(self._database)
        self._switching.submit(self._reconcile, self._catalog.deployments())
        self.rollouts.follow()
        self._sign_log()

    def _sign_log(self) -> None:
        """Sign what was done, by whom, since the last time."""
        try:
            sign_newest(self._database, self.settings.state_dir, now_ns=time.time_ns())
        except DamagedLogError as error:
            log.error("the log of who did what cannot be signed", reason=error.message)

    def _note_last_used(self) -> None:
        self.gate.last_used.flush(self._database)

    def _reconcile(self, specs: Sequence[DeploymentSpec]) -> None:
        try:
            self.service.reconcile(specs)
            self.drift.follow(self.service.all_versions())
        except Exception:
            log.exception("the models that are served could not be changed")

    def load_model(self, model: str) -> None:
        """Load, or load again, what the catalog's aliases of `model` point at now. Blocks; see `Service.load`."""
        self.service.reconcile(self._catalog.deployments())
        self.service.load(model)

    @property
    def database(self) -> Database:
        """Where everything is written but usage and payloads."""
        return self._database

    @property
    def pepper(self) -> bytes:
        """The secret under which keys are hashed."""
        return self._pepper

    @property
    def catalog(self) -> Catalog:
        """What is published."""
        return self._catalog

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
        with suppress(OverloadedError):
            self._note_last_used()
        self.rollouts.close()
        self._switching.shutdown()
        self.service.close()
        self.drift.close()
        self._treasurer.stop()
        self.idempotency.close()
        self.payloads.close()
        self._journal.close()
        self._database.close()
