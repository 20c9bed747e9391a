"""Rollouts: bring a new version to everybody, step by step. For operators."""

from __future__ import annotations

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from airserve.accounts.roles import Action
from airserve.models.rollout.guards import parse_guards
from airserve.models.rollout.rollouts import (
    Plan,
    decisions,
    newest_rollout,
    next_step,
    rollouts,
    start_rollout,
    stop_rollout,
)
from airserve.server.apis.control.caller import Asked, reply
from airserve.serving.rollout.status import status_of

router = APIRouter(tags=["rollouts"])


class NewRollout(BaseModel):
    """Bring `alias` to `version`. `steps` are percentages of the tenants that rise to 100, `every_seconds` is how long
    each holds at least; `guards` null and `shadow` null (calls compared first, 0 for none) are what suits the model."""

    model_config = ConfigDict(extra="forbid")
    version: int
    alias: str = "prod"
    steps: list[float] = Field(default=[5, 25, 50, 100], max_length=20)
    every_seconds: float = Field(default=600, gt=0, le=366 * 86_400)
    guards: str | None = None
    shadow: int | None = Field(default=None, ge=0)


@router.get("/rollouts")
def of_all(asked: Asked, running: bool = Query(default=False, description="Only those that run.")) -> Response:
    """The rollouts of all models, the newest first."""
    asked.may(Action.MODELS)
    return reply(rollouts(asked.database, running=running))


@router.get("/models/{model}/rollout")
def status(asked: Asked, model: str) -> Response:
    """The last rollout of a model, with its guards in numbers and what it waits for."""
    asked.may(Action.MODELS)
    return reply(status_of(asked.database, newest_rollout(asked.database, model), asked.now_ns))


@router.get("/models/{model}/rollouts")
def history(asked: Asked, model: str) -> Response:
    """All rollouts of a model, the newest first, each with every decision and its figures."""
    asked.may(Action.MODELS)
    found = rollouts(asked.database, model)
    return reply([{"rollout": each, "decisions": decisions(asked.database, each.id)} for each in found])


@router.post("/models/{model}/rollout", status_code=201)
def start(asked: Asked, model: str, new: NewRollout) -> Response:
    """Begin a rollout. One of a model runs at a time."""
    asked.may(Action.MODELS)
    plan = Plan(
        steps=tuple(new.steps),
        every_ns=int(new.every_seconds * 1e9),
        guards=None if new.guards is None else parse_guards(new.guards),
        shadow=new.shadow,
    )
    return reply(start_rollout(asked.database, model, new.version, plan, alias=new.alias, actor=asked.actor), 201)


@router.post("/models/{model}/rollout/next")
def advance(asked: Asked, model: str) -> Response:
    """Take the next step now, whatever the guards have seen."""
    asked.may(Action.MODELS)
    return reply(next_step(asked.database, model, actor=asked.actor))


@router.delete("/models/{model}/rollout")
def stop(asked: Asked, model: str) -> Response:
    """End the rollout: the old version answers everybody again."""
    asked.may(Action.MODELS)
    return reply(stop_rollout(asked.database, model, actor=asked.actor))
