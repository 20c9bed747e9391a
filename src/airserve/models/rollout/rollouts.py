"""Rollouts in the database: an alias on its way from one version to another, each decision, and what was counted.

A rollout begins in the state `shadow` (stage 0), where the new version answers copies of calls and nobody else, or at
once in `canary`, where it answers a growing part of the tenants (stage 1 is the first step), and ends `complete`,
`rolled_back` or `stopped`. One runs at a time for a model. Each change is made by whoever finds the row as it was, so
several servers may try; `rollout_decisions` only grows.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from airserve.core.errors import ConflictError, InvalidInputError, NotFoundError
from airserve.engines import generates
from airserve.models.aliases import RUNNING, point, pointed_at, require_version, running_rollout
from airserve.models.manifest import Manifest
from airserve.models.rollout.counts import Counts
from airserve.models.rollout.fit import check_fit
from airserve.models.rollout.guards import DEFAULT, DEFAULT_OF_TEXT, Guard, parse_guards
from airserve.storage import Database, tables
from airserve.storage.audit_log import record

_rollouts, _decisions, _counts = tables.rollouts.c, tables.rollout_decisions.c, tables.rollout_counts.c
_MOST_STEPS = 20
_MOST_SHADOW = 1_000_000
_SHADOW = 100

GUARDS = "service:guards"
"""Who decided, where no person did."""


class Plan(msgspec.Struct, frozen=True):
    """How to go on: the percentages, at least how long each holds, what must hold, and how many calls are compared
    before anybody is answered by the new version (0: none). None is what suits the model."""

    steps: tuple[float, ...] = (5.0, 25.0, 50.0, 100.0)
    every_ns: int = 600 * 10**9
    guards: tuple[Guard, ...] | None = None
    shadow: int | None = None


class Rollout(msgspec.Struct, frozen=True, kw_only=True):
    """One rollout. Times are UTC nanoseconds; `stage` counts the steps from 1, and is 0 in the shadow."""

    id: str
    model: str
    alias: str
    from_version: int
    to_version: int
    steps: tuple[float, ...]
    every_ns: int
    guards: tuple[str, ...]
    shadow: int
    state: str
    stage: int
    stage_ns: int
    started_ns: int
    ended_ns: int | None
    reason: str

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.state in RUNNING

    @property
    def percent(self) -> float:
        """The part of the tenants that the new version answers, 0 to 100."""
        if self.state == "canary":
            return self.steps[self.stage - 1]
        return 100.0 if self.state == "complete" else 0.0

    @property
    def parsed(self) -> tuple[Guard, ...]:
        """The guards, as they are judged."""
        return parse_guards(", ".join(self.guards))


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened to a rollout, why, and the figures of that moment."""

    id: int
    at_ns: int
    action: str
    actor: str
    stage: int
    percent: float
    reason: str
    figures: msgspec.Raw


def check_plan(plan: Plan) -> Plan:
    """`plan` itself, if it makes sense; raises `InvalidInputError` otherwise."""
    steps = plan.steps
    if not steps or len(steps) > _MOST_STEPS or list(steps) != sorted(set(steps)) or not 0 < steps[0] <= steps[-1]:
        raise InvalidInputError(f"the steps are 1 to {_MOST_STEPS} percentages that rise, such as 5,25,50,100")
    if steps[-1] != 100:
        raise InvalidInputError(f"the last step is 100, not {steps[-1]:g}: a rollout ends with everybody")
    if not 0 < plan.every_ns <= 366 * 86_400 * 10**9:
        raise InvalidInputError("a step takes a second to a year")
    if plan.shadow is not None and not 0 <= plan.shadow <= _MOST_SHADOW:
        raise InvalidInputError(f"0 to {_MOST_SHADOW} calls are compared in the shadow")
    return plan


def start_rollout(
    database: Database, model: str, version: int, plan: Plan, *, alias: str = "prod", actor: str | None = None
) -> Rollout:
    """Begin to bring `alias` from the version that it points at to `version`.

    Raises `NotFoundError`, `ConflictError` and `InvalidInputError` with what stands in the way.
    """
    check_plan(plan)
    now_ns = time.time_ns()
    with database.write() as connection:
        require_version(connection, model, version)
        current = pointed_at(connection, model, alias)
        if current is None:
            raise NotFoundError(f"model '{model}' has no alias '{alias}', so nobody is to be rolled out to")
        if current == version:
            raise ConflictError(f"'{alias}' of model '{model}' points at version {version} already")
        running = running_rollout(connection, model)
        if running is not None:
            raise ConflictError(
                f"a rollout of '{model}' to version {running.to_version} runs; see airserve rollout status {model}, "
                f"or end it: airserve rollout stop {model}"
            )
        old, new = (_manifest(connection, model, each) for each in (current, version))
        of_text = generates(new.engine)
        guards = plan.guards or parse_guards(DEFAULT_OF_TEXT if of_text else DEFAULT)
        shadow = plan.shadow if plan.shadow is not None else 0 if of_text else _SHADOW
        check_fit(model, old, new, guards, shadow)
        rollout = Rollout(
            id=f"rol_{secrets.token_hex(10)}",
            model=model,
            alias=alias,
            from_version=current,
            to_version=version,
            steps=plan.steps,
            every_ns=plan.every_ns,
            guards=tuple(guard.text for guard in guards),
            shadow=shadow,
            state="shadow" if shadow else "canary",
            stage=0 if shadow else 1,
            stage_ns=now_ns,
            started_ns=now_ns,
            ended_ns=None,
            reason="",
        )
        row = {name: getattr(rollout, name) for name in rollout.__struct_fields__}
        row["steps"], row["guards"] = _json(rollout.steps), _json(rollout.guards)
        connection.execute(tables.rollouts.insert().values(row))
        _note(connection, rollout, "start", "", {}, actor, now_ns)
    return rollout


def rollouts(database: Database, model: str | None = None, *, running: bool = False) -> Sequence[Rollout]:
    """All rollouts (of `model`), the newest first; only those that run, where asked."""
    query = sa.select(tables.rollouts).order_by(_rollouts.started_ns.desc(), _rollouts.id)
    if model is not None:
        query = query.where(_rollouts.model == model)
    if running:
        query = query.where(_rollouts.state.in_(RUNNING))
    with database.read() as connection:
        return [_rollout(row) for row in connection.execute(query)]


def newest_rollout(database: Database, model: str, *, running: bool = False) -> Rollout:
    """The last rollout of `model`. Raises `NotFoundError` where there was none, or (`running`) none runs."""
    found = rollouts(database, model, running=running)
    if not found:
        which = "no rollout of '{}' runs" if running else "'{}' was never rolled out"
        raise NotFoundError(f"{which.format(model)}; begin one: airserve rollout {model} VERSION")
    return found[0]


def decisions(database: Database, rollout_id: str) -> Sequence[Decision]:
    """Everything that was decided, oldest first."""
    query = sa.select(tables.rollout_decisions).where(_decisions.rollout_id == rollout_id).order_by(_decisions.id)
    with database.read() as connection:
        return [
            Decision(
                id=row.id,
                at_ns=row.at_ns,
                action=row.action,
                actor=row.actor,
                stage=row.stage,
                percent=row.percent,
                reason=row.reason,
                figures=msgspec.Raw(row.figures.encode()),
            )
            for row in connection.execute(query)
        ]


def advance(
    database: Database, rollout: Rollout, reason: str, figures: Any, *, actor: str | None = GUARDS
) -> Rollout | None:
    """Take the next step, or complete: then the alias points at the new version. None where it is not as it was."""
    now_ns = time.time_ns()
    last = rollout.stage == len(rollout.steps)
    after = msgspec.structs.replace(
        rollout,
        state="complete" if last else "canary",
        stage=rollout.stage if last else rollout.stage + 1,
        stage_ns=now_ns,
        ended_ns=now_ns if last else None,
        reason=reason if last else "",
    )
    with database.write() as connection:
        if not _change(connection, rollout, after):
            return None
        if last:
            version = rollout.to_version
            point(connection, rollout.model, rollout.alias, version, "model.rollout", actor, by_rollout=True)
        _note(connection, after, "complete" if last else "advance", reason, figures, actor, now_ns)
    return after


def roll_back(database: Database, rollout: Rollout, reason: str, figures: Any) -> Rollout | None:
    """End it because a guard failed, whatever step it is at. None where it has ended."""
    return _end(database, rollout, "rolled_back", "rollback", reason, figures, GUARDS)


def stop_rollout(database: Database, model: str, *, actor: str | None = None) -> Rollout:
    """End the rollout of `model`: the old version answers everybody again. Raises `NotFoundError` where none runs."""
    rollout = newest_rollout(database, model, running=True)
    ended = _end(database, rollout, "stopped", "stop", "stopped by hand", {}, actor)
    if ended is None:
        raise ConflictError(f"the rollout of '{model}' has just ended by itself; see airserve rollout status {model}")
    return ended


def next_step(database: Database, model: str, *, actor: str | None = None) -> Rollout:
    """Take the next step now, whatever the guards have seen. Raises `NotFoundError` where no rollout runs."""
    taken = advance(database, newest_rollout(database, model, running=True), "by hand", {}, actor=actor)
    if taken is None:
        raise ConflictError(f"the rollout of '{model}' has just gone on by itself; see airserve rollout status {model}")
    return taken


def save_counts(database: Database, rollout_id: str, node_id: str, by_stage: Mapping[int, Counts]) -> None:
    """Write what the node has counted in each stage, all of it, in place of what it wrote before."""
    with database.write(announce=False, lock=f"rollout {node_id}") as connection:
        for stage, counts in by_stage.items():
            where = sa.and_(_counts.rollout_id == rollout_id, _counts.stage == stage, _counts.node_id == node_id)
            row = {"counts": _json(counts)}
            if not connection.execute(tables.rollout_counts.update().where(where).values(row)).rowcount:
                connection.execute(
                    tables.rollout_counts.insert().values(rollout_id=rollout_id, stage=stage, node_id=node_id, **row)
                )


def load_counts(database: Database, rollout_id: str) -> Mapping[tuple[int, str], Counts]:
    """What was counted, by stage and node."""
    query = sa.select(tables.rollout_counts).where(_counts.rollout_id == rollout_id)
    with database.read() as connection:
        return {
            (row.stage, row.node_id): msgspec.json.decode(row.counts, type=Counts) for row in connection.execute(query)
        }


def _end(
    database: Database, rollout: Rollout, state: str, action: str, reason: str, figures: Any, actor: str | None
) -> Rollout | None:
    now_ns = time.time_ns()
    after = msgspec.structs.replace(rollout, state=state, ended_ns=now_ns, reason=reason)
    where = sa.and_(_rollouts.id == rollout.id, _rollouts.state.in_(RUNNING))
    ended = {"state": state, "ended_ns": now_ns, "reason": reason}
    with database.write() as connection:
        if not connection.execute(tables.rollouts.update().where(where).values(ended)).rowcount:
            return None
        _note(connection, after, action, reason, figures, actor, now_ns)
    return after


def _change(connection: sa.Connection, before: Rollout, after: Rollout) -> bool:
    """Take a step, if the row is as it was."""
    where = sa.and_(_rollouts.id == before.id, _rollouts.state == before.state, _rollouts.stage == before.stage)
    changed = {name: getattr(after, name) for name in ("state", "stage", "stage_ns", "ended_ns", "reason")}
    return connection.execute(tables.rollouts.update().where(where).values(changed)).rowcount == 1


def _note(
    connection: sa.Connection,
    rollout: Rollout,
    action: str,
    reason: str,
    figures: Any,
    actor: str | None,
    now_ns: int,
) -> None:
    """Write down a decision, beside the rollout and in the log of who did what."""
    logged = record(
        connection, actor=actor, action=f"rollout.{action}", object_id=f"{rollout.model}@{rollout.alias}",
        before={"version": rollout.from_version},
        after={"version": rollout.to_version, "percent": rollout.percent, "rollout": rollout.id, "reason": reason},
        now_ns=now_ns,
    )  # fmt: skip
    connection.execute(
        tables.rollout_decisions.insert().values(
            rollout_id=rollout.id,
            at_ns=now_ns,
            action=action,
            actor=logged.actor,
            stage=rollout.stage,
            percent=rollout.percent,
            reason=reason,
            figures=_json(figures),
        )
    )


def _rollout(row: Any) -> Rollout:
    fields = dict(row._mapping)
    fields["steps"] = tuple(msgspec.json.decode(row.steps, type=tuple[float, ...]))
    fields["guards"] = tuple(msgspec.json.decode(row.guards, type=tuple[str, ...]))
    return Rollout(**fields)


def _manifest(connection: sa.Connection, model: str, version: int) -> Manifest:
    columns = tables.versions.c
    query = sa.select(columns.manifest).where(columns.model == model, columns.version == version)
    return msgspec.json.decode(connection.execute(query).scalar_one(), type=Manifest)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
