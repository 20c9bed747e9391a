"""Which operation a method and path mean. Source: inference_rest.md; Triton's http_server.cc where it says more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from urllib.parse import unquote

from airserve.core.errors import AirserveError, MethodNotAllowedError, NotFoundError, NotImplementedHereError

_MAX_PATH = 2048


_Refusal = tuple[Callable[[str], AirserveError], str]
"""An error class and what it is made with. An error itself is never cached: each raise would add to its traceback."""


class Operation(Enum):
    """What this server answers of the protocol."""

    SERVER_METADATA = "server_metadata"
    SERVER_LIVE = "server_live"
    SERVER_READY = "server_ready"
    MODEL_METADATA = "model_metadata"
    MODEL_READY = "model_ready"
    INFER = "infer"


@dataclass(frozen=True, slots=True)
class Route:
    """An operation and what the path names; `version` None means whatever the model's alias points at."""

    operation: Operation
    model: str | None = None
    version: str | None = None


class WrongMethodError(MethodNotAllowedError):
    """The path exists for the method `allow`, which the response names (RFC 9110 §15.5.6)."""

    def __init__(self, allow: str) -> None:
        super().__init__("Method Not Allowed")
        self.allow = allow


_NOT_FOUND: _Refusal = (NotFoundError, "Not Found")
_SERVER = {
    (): ("GET", Operation.SERVER_METADATA),
    ("health", "live"): ("GET", Operation.SERVER_LIVE),
    ("health", "ready"): ("GET", Operation.SERVER_READY),
}
_MODEL = {
    (): ("GET", Operation.MODEL_METADATA),
    ("ready",): ("GET", Operation.MODEL_READY),
    ("infer",): ("POST", Operation.INFER),
}
_OF_OTHERS = {"config", "stats", "generate", "generate_stream", "trace"}


def match(method: str, path: str) -> Route:
    """The route of a request; `path` is percent-encoded, without the query.

    Raises `NotFoundError`, `MethodNotAllowedError`, or `NotImplementedHereError` for the parts of the protocol
    that are not offered.
    """
    found = _match(method, path) if len(path) <= _MAX_PATH else _NOT_FOUND
    if isinstance(found, Route):
        return found
    error, argument = found
    raise error(argument)


@lru_cache(maxsize=1024)
def _match(method: str, path: str) -> Route | _Refusal:
    path = path.partition("?")[0]
    parts = ("v2",) if path == "/v2/" else tuple(path.removeprefix("/").split("/"))
    if parts[0] != "v2" or path[:1] != "/":
        return _NOT_FOUND
    if parts[1:] in _SERVER:
        return _route(method, *_SERVER[parts[1:]])
    if parts[1:2] in (("repository",), ("trace",), ("logging",), ("systemsharedmemory",), ("cudasharedmemory",)):
        return NotImplementedHereError, f"'{parts[1]}' is not offered by this server"
    if parts[1:2] != ("models",) or len(parts) < 3 or not parts[2]:
        return _NOT_FOUND
    model, rest, version = unquote(parts[2]), parts[3:], None
    if rest[:1] == ("versions",) and len(rest) >= 2:
        version, rest = unquote(rest[1]), rest[2:]
    if rest in _MODEL:
        return _route(method, *_MODEL[rest], model, version)
    if rest and rest[0] in _OF_OTHERS:
        return NotImplementedHereError, f"'{rest[0]}' is not offered by this server"
    return _NOT_FOUND


def _route(
    method: str, expected: str, operation: Operation, model: str | None = None, version: str | None = None
) -> Route | _Refusal:
    if method != expected:
        return WrongMethodError, expected
    return Route(operation, model, version)
