"""Watches the calls of one version for drift: a sample of them, within a hundredth of one core's time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
import structlog

from airserve.core.call import Array, Call, Reply
from airserve.core.errors import AirserveError
from airserve.models.baseline import BASELINE_NAME, Baseline, parse_baseline
from airserve.models.catalog import DeploymentSpec
from airserve.models.observed import Observer
from airserve.serving.drift.window import DriftReport, DriftWindow

log = structlog.get_logger("airserve.serving")

_REST = 99
"""After each look a watch rests so many times as long as that took: it has one part in a hundred of a core."""

_JUDGE_EVERY_NS = 1_000_000_000

_CALMED = 0.2
"""A figure that drifted counts as back once its PSI is below this, so that one at the limit does not come and go."""

_MOST_NAMED = 5


class DriftWatch:
    """Holds the calls of `model` `version` against `baseline`. `see` and `report` may be called from any thread.

    What drifts is logged once, when it begins to; `alerts` holds it while it lasts, with when that began (UTC).
    """

    def __init__(
        self, model: str, version: int, baseline: Baseline, observer: Observer,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:  # fmt: skip
        self.alerts: dict[str, int] = {}
        self._model = model
        self._version = version
        self._baseline = baseline
        self._observer = observer
        self._clock = clock
        self._window = DriftWindow(baseline)
        self._lock = threading.Lock()
        self._rests_until_ns = self._judged_ns = 0
        self._failed = False

    @property
    def rests(self) -> bool:
        """Whether the next call is passed over: the watch has had its part of the time."""
        return self._clock() < self._rests_until_ns

    def see(self, call: Call, reply: Reply) -> None:
        """Take in a call that was answered. Never raises: the call was answered all the same."""
        now_ns = self._clock()
        try:
            values, vectors = self._read(call, reply)
            with self._lock:
                self._window.add(values, now_ns, vectors)
                if now_ns - self._judged_ns >= _JUDGE_EVERY_NS:
                    self._judge(self._window.report(now_ns), now_ns)
        except Exception:
            if not self._failed:
                log.exception("calls cannot be held against the baseline", model=self._model, version=self._version)
            self._failed = True
        ended_ns = self._clock()
        self._rests_until_ns = ended_ns + _REST * (ended_ns - now_ns)

    def report(self) -> DriftReport:
        """How the last hour compares with the baseline."""
        with self._lock:
            now_ns = self._clock()
            report = self._window.report(now_ns)
            self._judge(report, now_ns)
            return report

    def _read(self, call: Call, reply: Reply) -> tuple[Array, Array | None]:
        """What the window takes in. No lock is held: a large picture takes a while."""
        embedding = self._baseline.embedding
        vectors = None if embedding is None else self._observer.rows(reply.outputs[embedding.output])
        with np.errstate(all="ignore"):
            return self._observer.of(call.inputs, reply.outputs), vectors

    def _judge(self, report: DriftReport, now_ns: int) -> None:
        """Note what began to drift, and what is back. The lock is held."""
        self._judged_ns = now_ns
        psi = {each.name: each.psi for each in report.statistics}
        kept = {name: since for name, since in self.alerts.items() if psi[name] >= _CALMED}
        begun = [name for name in report.drifted if name not in kept]
        self.alerts = {**kept, **dict.fromkeys(begun, time.time_ns())}
        if begun:
            log.warning(
                "the inputs of a model have drifted from its baseline",
                model=self._model,
                version=self._version,
                statistics=len(begun),
                worst={name: psi[name] for name in begun[:_MOST_NAMED]},
                rows=report.rows,
            )


def watch_of(spec: DeploymentSpec) -> DriftWatch | None:
    """The watch over a version whose package has a baseline; None where it has none. Reads the package: for threads."""
    manifest = spec.manifest
    if spec.files is None or manifest.sealed is not None:
        return None
    try:
        if BASELINE_NAME not in spec.files.digests:
            return None
        baseline = parse_baseline(spec.files.read(BASELINE_NAME), manifest)
    except AirserveError as error:
        # The model itself may be sound; it is served.
        log.warning("a baseline cannot be read", model=spec.model, version=spec.version, reason=error.message)
        return None
    return DriftWatch(spec.model, spec.version, baseline, Observer(manifest, baseline.embedding))
