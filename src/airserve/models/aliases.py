"""What an alias points at, and what may move it."""

from __future__ import annotations

import time
from typing import NamedTuple

import sqlalchemy as sa

from airserve.core.errors import ConflictError, NotFoundError
from airserve.storage import tables
from airserve.storage.audit_log import record

RUNNING = ("shadow", "canary")
"""The states of a rollout that has not ended."""

_versions, _aliases, _rollouts = tables.versions.c, tables.aliases.c, tables.rollouts.c


def pointed_at(connection: sa.Connection, model: str, alias: str) -> int | None:
    """The version that `alias` points at; None where there is no such alias."""
    where = sa.and_(_aliases.model == model, _aliases.alias == alias)
    version = connection.execute(sa.select(_aliases.version).where(where)).scalar()
    return None if version is None else int(version)


def point(
    connection: sa.Connection,
    model: str,
    alias: str,
    version: int,
    action: str,
    actor: str | None,
    *,
    by_rollout: bool = False,
) -> None:
    """Point `alias` at `version`, and record that. Refused while a rollout of the alias runs, but for its own end."""
    now_ns, current = time.time_ns(), pointed_at(connection, model, alias)
    if current == version:
        return
    if not by_rollout:
        _refuse_during_rollout(connection, model, alias)
    if current is None:
        connection.execute(tables.aliases.insert().values(model=model, alias=alias, version=version, changed_ns=now_ns))
    else:
        where = sa.and_(_aliases.model == model, _aliases.alias == alias)
        connection.execute(tables.aliases.update().where(where).values(version=version, changed_ns=now_ns))
    connection.execute(
        tables.alias_changes.insert().values(model=model, alias=alias, version=version, changed_ns=now_ns)
    )
    record(
        connection, actor=actor, action=action, object_id=f"{model}@{alias}",
        before=None if current is None else {"version": current}, after={"version": version}, now_ns=now_ns,
    )  # fmt: skip


def require_version(connection: sa.Connection, model: str, version: int) -> None:
    """Refuse a version that does not exist or was retired."""
    row = connection.execute(
        sa.select(_versions.retired_ns).where(_versions.model == model, _versions.version == version)
    ).first()
    if row is None:
        raise NotFoundError(f"model '{model}' has no version {version}; see airserve models show {model}")
    if row[0] is not None:
        raise ConflictError(f"version {version} of model '{model}' was retired; publish a new one")


class Underway(NamedTuple):
    """Which alias is being rolled out to which version."""

    alias: str
    to_version: int


def running_rollout(connection: sa.Connection, model: str) -> Underway | None:
    """The rollout of `model` that runs; None where none does."""
    query = sa.select(_rollouts.alias, _rollouts.to_version)
    row = connection.execute(query.where(_rollouts.model == model, _rollouts.state.in_(RUNNING))).first()
    return None if row is None else Underway(*row)


def _refuse_during_rollout(connection: sa.Connection, model: str, alias: str) -> None:
    running = running_rollout(connection, model)
    if running is not None and running.alias == alias:
        raise ConflictError(
            f"'{alias}' of model '{model}' is being rolled out to version {running.to_version}; wait for its end, or "
            f"stop it first: airserve rollout stop {model} (to publish beside it: airserve publish --no-alias)"
        )
