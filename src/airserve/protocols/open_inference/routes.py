"""Which operation a method and path mean. Source: inference_rest.md; Triton's http_server.cc where it says more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from urllib.parse import unquote

from airserve.core.errors import AirserveError, NotFoundError, NotImplementedHereError
from airserve.protocols.open_inference.checks import NO_SHARED_MEMORY
from airserve.protocols.wrong_method import WrongMethodError

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
    MODEL_CONFIG = "model_config"
    MODEL_STATISTICS = "model_statistics"
    GENERATE = "generate"
    GENERATE_STREAM = "generate_stream"
    MODEL_LIST = "model_list"
    ALL_STATISTICS = "all_statistics"
    REPOSITORY_INDEX = "repository_index"
    MODEL_LOAD = "model_load"
    MODEL_UNLOAD = "model_unload"
    PLACES = "places"
    DEVICE = "device"
    SHARED_MEMORY_STATUS = "shared_memory_status"
    SHARED_MEMORY_UNREGISTER = "shared_memory_unregister"


@dataclass(frozen=True, slots=True)
class Route:
    """An operation and what the path names; `version` None means whatever the model's alias points at."""

    operation: Operation
    model: str | None = None
    version: str | None = None


_NOT_FOUND: _Refusal = (NotFoundError, "Not Found")
_SERVER = {
    (): ("GET", Operation.SERVER_METADATA),
    ("health", "live"): ("GET", Operation.SERVER_LIVE),
    ("health", "ready"): ("GET", Operation.SERVER_READY),
    ("models",): ("GET", Operation.MODEL_LIST),
    ("models", "stats"): ("GET", Operation.ALL_STATISTICS),
    ("repository", "index"): ("POST", Operation.REPOSITORY_INDEX),
    ("systemsharedmemory", "status"): ("GET", Operation.SHARED_MEMORY_STATUS),
    ("cudasharedmemory", "status"): ("GET", Operation.SHARED_MEMORY_STATUS),
}
_MODEL = {
    (): ("GET", Operation.MODEL_METADATA),
    ("ready",): ("GET", Operation.MODEL_READY),
    ("infer",): ("POST", Operation.INFER),
    ("config",): ("GET", Operation.MODEL_CONFIG),
    ("stats",): ("GET", Operation.MODEL_STATISTICS),
    ("places",): ("GET", Operation.PLACES),
    ("device",): ("GET", Operation.DEVICE),
    ("generate",): ("POST", Operation.GENERATE),
    ("generate_stream",): ("POST", Operation.GENERATE_STREAM),
}
_REPOSITORY = {"load": Operation.MODEL_LOAD, "unload": Operation.MODEL_UNLOAD}
_NO_TRACE = "trace settings are not offered: send a 'traceparent' with a call, and read its 'server-timing'"
_NO_LOGGING = "log settings are the operator's: start the server with --log-level"
_NO_REPOSITORY_NAME = "'repository_name' specification is not supported"


def match(method: str, path: str) -> Route:
    """The route of a request; `path` is percent-encoded, without the query.

    Raises `NotFoundError`, `MethodNotAllowedError`, or `NotImplementedHereError` for the parts of the protocol
    that are not offered.
    """
    found = _match(method, path)
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
    if parts[1] != "models":
        return _beside_models(method, parts[1:])
    if len(parts) < 3 or not parts[2]:
        return _NOT_FOUND
    model, rest, version = unquote(parts[2]), parts[3:], None
    if rest[:1] == ("versions",) and len(rest) >= 2:
        version, rest = unquote(rest[1]), rest[2:]
    if rest in _MODEL:
        return _route(method, *_MODEL[rest], model, version)
    return (NotImplementedHereError, _NO_TRACE) if rest == ("trace", "setting") else _NOT_FOUND


def _beside_models(method: str, parts: tuple[str, ...]) -> Route | _Refusal:
    """The route of what is below neither `models` nor a fixed name."""
    match parts:
        case ("repository", "models", model, action) if model and action in _REPOSITORY:
            return _route(method, "POST", _REPOSITORY[action], unquote(model))
        case ("repository", _, "index") | ("repository", _, "models", _, "load" | "unload"):
            return NotImplementedHereError, _NO_REPOSITORY_NAME
        case ("trace", "setting"):
            return NotImplementedHereError, _NO_TRACE
        case ("logging",):
            return NotImplementedHereError, _NO_LOGGING
        case ("systemsharedmemory" | "cudasharedmemory", "region", region, "status"):
            kind = parts[0].removesuffix("sharedmemory")
            return NotFoundError, f"Unable to find {kind} shared memory region: '{unquote(region)[:80]}'"
        case ("systemsharedmemory" | "cudasharedmemory", "unregister") | (
            "systemsharedmemory" | "cudasharedmemory",
            "region",
            _,
            "unregister",
        ):
            return _route(method, "POST", Operation.SHARED_MEMORY_UNREGISTER)
        case ("systemsharedmemory" | "cudasharedmemory", "region", _, "register"):
            return NotImplementedHereError, NO_SHARED_MEMORY
        case _:
            return _NOT_FOUND


def _route(
    method: str, expected: str, operation: Operation, model: str | None = None, version: str | None = None
) -> Route | _Refusal:
    if method != expected:
        return WrongMethodError, expected
    return Route(operation, model, version)
