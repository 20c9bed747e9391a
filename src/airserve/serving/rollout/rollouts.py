"""Carries out the rollouts of the database, on a thread of its own: watches, judges, goes on, goes back.

A guard that fails acts in this process within a few milliseconds: nobody is led to the new version any more. Then the
decision is written, and the other servers follow within a second. What is counted is written about once a second, so a
server that starts again, or shares the database with others, goes on with all of it. A step is taken by whichever
server finds the row as it was.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from contextlib import suppress

import structlog

from airserve.core.errors import OverloadedError
from airserve.models.rollout.rollouts import Rollout, advance, load_counts, roll_back, rollouts, save_counts
from airserve.serving.rollout.run import RolloutRun, Verdicts
from airserve.serving.service import Service
from airserve.storage import Database

log = structlog.get_logger("airserve.serving")

_LOOK_EVERY_S = 0.1
_SOONEST_S = 0.005
_SAVE_EVERY_S = 1.0


class Rollouts:
    """The rollouts that run, as this process takes part in them. `decided` counts what it decided, by model, alias and
    action.

    One thread watches and judges, in memory alone, so that a guard acts while the database is busy or away. Another
    reads and writes. The lock is over the runs, and is held for no query.
    """

    def __init__(self, database: Database, service: Service, node_id: str) -> None:
        self.decided: dict[tuple[str, str, str], int] = {}
        self._database = database
        self._service = service
        self._node_id = node_id
        self._runs: dict[str, RolloutRun] = {}
        self._save_at = 0.0
        self._changed = self._stopped = False
        self._lock = threading.Lock()
        self._wake, self._due = threading.Event(), threading.Event()
        self._threads = [
            threading.Thread(target=self._watch, name="rollouts", daemon=True),
            threading.Thread(target=self._write, name="rollouts-database", daemon=True),
        ]

    def start(self) -> None:
        """Take up what runs in the database, before the first call comes."""
        self._follow()
        self._look()
        for thread in self._threads:
            thread.start()

    def follow(self) -> None:
        """Somebody has changed something in the database."""
        self._changed = True
        self._due.set()

    def percents(self) -> Mapping[tuple[str, str], float]:
        """The part of the tenants that the new version answers, of each model and alias that is being rolled out."""
        with self._lock:
            runs = [(run.rollout, run.withdrawn) for run in self._runs.values()]
        return {(each.model, each.alias): 0.0 if withdrawn else each.percent for each, withdrawn in runs}

    def close(self) -> None:
        """Stop, and write what was counted."""
        self._stopped = True
        self._wake.set()
        self._due.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()
        for run in self._runs.values():
            run.close()
            with suppress(OverloadedError):
                self._save(run)

    def _watch(self) -> None:
        """The body of the thread that judges."""
        while not self._stopped:
            self._wake.wait(_LOOK_EVERY_S if self._runs else None)
            self._wake.clear()
            try:
                self._look()
            except Exception:
                log.exception("a rollout could not be judged, trying again")
            # Many bad calls at once need no look each.
            time.sleep(_SOONEST_S)

    def _look(self) -> None:
        with self._lock:
            for run in self._runs.values():
                if run.look(time.time_ns()):
                    self._due.set()

    def _write(self) -> None:
        """The body of the thread that reads and writes."""
        away = False
        while not self._stopped:
            self._due.wait(max(0.0, self._save_at - time.monotonic()) if self._runs else None)
            self._due.clear()
            try:
                self._catch_up()
                away = False
            except Exception as error:
                if not isinstance(error, OverloadedError):
                    log.exception("a rollout could not be carried on, trying again")
                elif not away:
                    log.warning("rollouts wait for the database", reason=error.message)
                away = self._changed = True
                time.sleep(_LOOK_EVERY_S)
                self._due.set()

    def _catch_up(self) -> None:
        if self._changed:
            self._changed = False
            self._follow()
        for run in list(self._runs.values()):
            if run.decided is not None:
                self._decide(run, run.decided)
            elif not run.rollout.running and run.arrived:
                self._part(run)
        if time.monotonic() >= self._save_at:
            self._save_at = time.monotonic() + _SAVE_EVERY_S
            for run in self._runs.values():
                self._save(run)

    def _follow(self) -> None:
        known = {each.id: each for each in rollouts(self._database, running=True)}
        for run in list(self._runs.values()):
            if run.rollout.id not in known:
                self._ended(run)
        for rollout in known.values():
            run = self._runs.get(rollout.id) or self._begun(rollout)
            with self._lock:
                run.follow(rollout)
        self._wake.set()

    def _begun(self, rollout: Rollout) -> RolloutRun:
        saved = load_counts(self._database, rollout.id)
        run = RolloutRun(rollout, self._service, self._node_id, saved, self._wake.set)
        with self._lock:
            self._runs[rollout.id] = run
        return run

    def _ended(self, run: RolloutRun) -> None:
        """Whoever ended it, it is over here too: after the last step once the alias itself leads to the new version."""
        (ended,) = [each for each in rollouts(self._database, run.rollout.model) if each.id == run.rollout.id]
        with self._lock:
            run.follow(ended)
        if ended.state != "complete" or run.arrived:
            self._part(run)

    def _part(self, run: RolloutRun) -> None:
        with self._lock:
            run.close()
        self._save(run)
        with self._lock:
            del self._runs[run.rollout.id]

    def _save(self, run: RolloutRun) -> None:
        save_counts(self._database, run.rollout.id, self._node_id, run.own)
        saved = load_counts(self._database, run.rollout.id)
        with self._lock:
            run.learn(saved)

    def _decide(self, run: RolloutRun, verdicts: Verdicts) -> None:
        self._save(run)
        change = roll_back if verdicts.action == "rollback" else advance
        made = change(
            self._database, verdicts.rollout, verdicts.reason, [verdict.figures() for verdict in verdicts.each]
        )
        # Where somebody else was faster, the row says what they decided.
        self._changed = True
        self._due.set()
        with self._lock:
            # A guard may have failed while a step was being taken.
            if run.decided is verdicts:
                run.decided = None
            if made is not None:
                run.follow(made)
        if made is not None:
            self._tell(made, verdicts)

    def _tell(self, rollout: Rollout, verdicts: Verdicts) -> None:
        key = rollout.model, rollout.alias, verdicts.action
        self.decided[key] = self.decided.get(key, 0) + 1
        tell = log.error if verdicts.action == "rollback" else log.info
        said = {"rollback": "a new version was rolled back", "advance": "a rollout went on"}
        tell(
            said[verdicts.action],
            model=rollout.model,
            alias=rollout.alias,
            version=rollout.to_version,
            percent=rollout.percent,
            state=rollout.state,
            reason=verdicts.reason,
        )
