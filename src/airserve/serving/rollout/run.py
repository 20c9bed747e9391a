"""One rollout in this process: its detour, its watch over both versions, its shadow, and what they have counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from airserve.core.errors import NotFoundError
from airserve.engines import generates
from airserve.models.rollout.counts import Counts, total
from airserve.models.rollout.rollouts import Rollout
from airserve.serving.rollout.guards import Verdict, judge
from airserve.serving.rollout.routing import Detour
from airserve.serving.rollout.shadow import Shadow
from airserve.serving.rollout.watch import RolloutWatch
from airserve.serving.service import Service
from airserve.serving.version import State, Version


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What is to be done with a rollout as it was then: `rollback` or `advance`, nothing where it is empty; and why."""

    rollout: Rollout
    action: str
    reason: str
    each: Sequence[Verdict]


class RolloutRun:
    """Every method is called under the lock of `Rollouts`. `saved` is what the database has, by stage and node."""

    def __init__(
        self,
        rollout: Rollout,
        service: Service,
        node_id: str,
        saved: Mapping[tuple[int, str], Counts],
        wake: Callable[[], None],
    ) -> None:
        self.rollout = rollout
        self.withdrawn = False
        """Whether nobody is led to the new version any more, whatever the database says."""
        self.decided: Verdicts | None = None
        """What the database is to be told."""
        self._service = service
        self._node_id = node_id
        self._wake = wake
        guards = rollout.parsed
        self._compares = any(guard.kind == "agreement" for guard in guards)
        latency = next((guard for guard in guards if guard.kind == "latency"), None)
        self._watch = RolloutWatch(latency, wake, old_ns=max((each.old_ns for each in saved.values()), default=0))
        self._own = {stage: counts for (stage, node), counts in saved.items() if node == node_id}
        self._watch.counts = self._own.setdefault(rollout.stage, Counts())
        self._detour: Detour | None = None
        self._shadow: Shadow | None = None
        self._copied: Version | None = None
        self.learn(saved)

    def learn(self, saved: Mapping[tuple[int, str], Counts]) -> None:
        """Take in what the other servers have counted."""
        self._others = [(stage, counts) for (stage, node), counts in saved.items() if node != self._node_id]

    @property
    def own(self) -> Mapping[int, Counts]:
        """What was counted here, by stage."""
        return {stage: counts.copy() for stage, counts in self._own.items()}

    def follow(self, rollout: Rollout) -> None:
        """The database says this of the rollout now."""
        if rollout.stage != self.rollout.stage:
            self._watch.counts = self._own.setdefault(rollout.stage, Counts())
            if self._shadow is not None:
                self._shadow.hurry()
        self.rollout = rollout

    def look(self, now_ns: int) -> bool:
        """Keep up and judge, at once where a guard has failed; whether there is something to write. `now_ns` is UTC."""
        if not self.rollout.running:
            return self.arrived
        self._keep_up()
        if not self.withdrawn:
            verdicts = self._verdicts(now_ns)
            if verdicts.action == "rollback":
                self.withdrawn, self.decided = True, verdicts
                self._lead(None)
            elif verdicts.action and self.decided is None:
                self.decided = verdicts
        return self.decided is not None

    def _keep_up(self) -> None:
        """Bring everything to where the rollout is, as far as its versions are loaded."""
        rollout = self.rollout
        old, new = self._version(rollout.from_version), self._version(rollout.to_version)
        if old is None or new is None:
            return
        self._service.keep_loaded(new)
        old.statistics.watch = self._watch.old
        # In the shadow it answers copies, which are counted by themselves.
        new.statistics.watch = self._watch.new if rollout.stage else None
        if old.deployment is not None and new.deployment is not None:
            self._keep_shadow(old, new)
            # Nobody is led to a version whose answers nobody looks at yet.
            shadow = self._shadow
            if rollout.percent and not self.withdrawn and (shadow is None or shadow.ready):
                self._lead(Detour(rollout.id, rollout.percent, new, None if shadow is None else shadow.is_behind))
        self._watch.reckon()

    def _verdicts(self, now_ns: int) -> Verdicts:
        """What follows from all that was counted until now."""
        rollout = self.rollout
        new = self._version(rollout.to_version)
        if new is not None and new.state is State.FAILED:
            return Verdicts(rollout, "rollback", f"version {rollout.to_version} failed to load: {new.reason}", ())
        if self._shadow is not None and self._shadow.failed:
            return Verdicts(rollout, "rollback", f"no answers can be compared: {self._shadow.failed}", ())
        counts, before = self._counts()
        each = judge(rollout, counts, before)
        if failed := [verdict.sentence() for verdict in each if verdict.failed]:
            return Verdicts(rollout, "rollback", "; ".join(failed), each)
        due = now_ns >= rollout.stage_ns + rollout.every_ns if rollout.stage else counts.calls >= rollout.shadow
        if due and all(verdict.passed for verdict in each):
            return Verdicts(rollout, "advance", "every guard holds", each)
        return Verdicts(rollout, "", "", each)

    @property
    def arrived(self) -> bool:
        """Whether the alias itself leads to the new version, so that no detour is needed."""
        try:
            found = self._service.find(f"{self.rollout.model}@{self.rollout.alias}")
        except NotFoundError:
            return True
        return found.spec.version == self.rollout.to_version

    def close(self) -> None:
        """Leave both versions alone."""
        rollout = self.rollout
        self._lead(None)
        for number, watch in ((rollout.from_version, self._watch.old), (rollout.to_version, self._watch.new)):
            version = self._version(number)
            if version is not None and version.statistics.watch == watch:
                version.statistics.watch = None
        if self._shadow is not None:
            self._shadow.stop()

    def _lead(self, detour: Detour | None) -> None:
        if detour != self._detour:
            self._detour = detour
            self._service.detour(self.rollout.model, self.rollout.alias, detour)

    def _counts(self) -> tuple[Counts, Counts]:
        """What all servers have counted: in this stage, and in all."""
        parts = [*self._own.items(), *self._others]
        return total(each for stage, each in parts if stage == self.rollout.stage), total(each for _, each in parts)

    def _version(self, number: int) -> Version | None:
        try:
            return self._service.find(self.rollout.model, str(number))
        except NotFoundError:
            return None

    def _keep_shadow(self, old: Version, new: Version) -> None:
        """Have the calls of the old version copied for the new one; from the first step on, the other way round."""
        copied = new if self.rollout.stage else old
        if copied is self._copied:
            return
        self._copied = copied
        if self._shadow is not None:
            self._shadow.stop()
            self._shadow = None
        if generates(new.spec.manifest.engine):
            return
        if copied is old:
            self._shadow = Shadow(old, new.spec, self._copy_answered)
        elif self._compares:
            _, before = self._counts()
            self._shadow = Shadow(new, old.spec, self._answer_checked, known=before.compared)

    def _copy_answered(self, agreed: bool | None) -> None:
        """The new version has answered a copy, or (None) failed to."""
        if self.rollout.stage:
            # It was under way when the first step was taken.
            return
        counts = self._watch.counts
        counts.calls += 1
        counts.failed += agreed is None
        self._answer_checked(agreed)

    def _answer_checked(self, agreed: bool | None) -> None:
        """The answers of both versions are there; None where the one that was asked for the copy failed."""
        counts = self._watch.counts
        if agreed is not None:
            counts.compared += 1
            counts.disagreed += not agreed
        if not agreed:
            self._wake()
