"""Which operation a method and path mean. Source: OpenAI API reference."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from urllib.parse import unquote

from airserve.core.errors import NotFoundError
from airserve.protocols.wrong_method import WrongMethodError


class Operation(Enum):
    """What this server answers of the API."""

    MODELS = "models"
    MODEL = "model"
    CHAT = "chat"
    COMPLETION = "completion"
    EMBEDDINGS = "embeddings"


@dataclass(frozen=True, slots=True)
class Route:
    """An operation; `model` where the path names one."""

    operation: Operation
    model: str | None = None


_ROUTES = {
    "/v1/models": ("GET", Operation.MODELS),
    "/v1/chat/completions": ("POST", Operation.CHAT),
    "/v1/completions": ("POST", Operation.COMPLETION),
    "/v1/embeddings": ("POST", Operation.EMBEDDINGS),
}
_MODEL = "/v1/models/"


def match(method: str, path: str) -> Route:
    """The route of a request; `path` is percent-encoded and may have a query.

    Raises `NotFoundError` or `MethodNotAllowedError`.
    """
    path = path.partition("?")[0]
    found = _ROUTES.get(path)
    model = None
    if found is None and path.startswith(_MODEL) and len(path) > len(_MODEL):
        found, model = ("GET", Operation.MODEL), unquote(path[len(_MODEL) :])
    if found is None:
        offered = ", ".join(_ROUTES)
        raise NotFoundError(f"'{path[:200]}' is not offered here; there are {offered} and {_MODEL}{{model}}")
    expected, operation = found
    if method != expected:
        raise WrongMethodError(expected)
    return Route(operation, model)
