"""Which operation a method and path mean: `/models`, `/models/NAME` and `/models/NAME/versions/NUMBER`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from urllib.parse import unquote

from airserve.core.errors import NotFoundError
from airserve.protocols.wrong_method import WrongMethodError


class Operation(Enum):
    """What there is."""

    LIST = "list"
    DESCRIBE = "describe"
    CALL = "call"


@dataclass(frozen=True, slots=True)
class Route:
    """An operation and what the path names; `version` None means whatever the model's alias points at."""

    operation: Operation
    model: str = ""
    version: str | None = None


def match(method: str, path: str) -> Route:
    """The route of a request; `path` is percent-encoded. Raises `NotFoundError` or `MethodNotAllowedError`."""
    parts = [unquote(part) for part in path.partition("?")[0].strip("/").split("/")]
    if parts == ["models"]:
        if method != "GET":
            raise WrongMethodError("GET")
        return Route(Operation.LIST)
    named = parts[2:3] == ["versions"] and len(parts) == 4
    if parts[0] != "models" or (len(parts) != 2 and not named):
        raise NotFoundError("Not Found; a model is called with POST /models/NAME")
    if method not in ("GET", "POST"):
        raise WrongMethodError("GET, POST")
    return Route(Operation.CALL if method == "POST" else Operation.DESCRIBE, parts[1], parts[3] if named else None)
