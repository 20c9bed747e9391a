"""The model repository extension: what is published here, loaded or not. Source: extension_model_repository.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from airserve.core.errors import InvalidInputError, NotImplementedHereError
from airserve.serving.version import State, Version

_STATE_OF = {
    State.READY: "READY",
    State.LOADING: "LOADING",
    State.ASLEEP: "UNAVAILABLE",
    State.FAILED: "UNAVAILABLE",
    State.UNLOADED: "UNAVAILABLE",
}
_WAITS = "its next call loads it"


class _Filter(msgspec.Struct):
    ready: bool = False


class _Change(msgspec.Struct):
    parameters: dict[str, Any] = {}


def index_entry(version: Version) -> dict[str, str]:
    """One entry of the index."""
    reason = version.reason
    if version.state is State.ASLEEP:
        reason = f"{reason}; {_WAITS}" if reason else _WAITS
    return {
        "name": version.spec.model,
        "version": str(version.spec.version),
        "state": _STATE_OF[version.state],
        "reason": reason,
    }


def decode_index(body: bytes | memoryview) -> bool:
    """Whether only versions that are ready are asked for. An empty body asks for all."""
    return _read(body, _Filter).ready if len(body) else False


def decode_change(body: bytes | memoryview) -> None:
    """Refuse what a request to load or unload cannot ask for here."""
    if len(body):
        check_change(_read(body, _Change).parameters)


def check_change(parameters: Mapping[str, Any]) -> None:
    """Refuse the `parameters` of a request to load or unload that change the model itself."""
    for name in parameters:
        if name == "config" or name.startswith("file:"):
            raise NotImplementedHereError(
                f"'{name[:80]}' is not offered: a published version never changes; publish another with "
                "airserve publish"
            )
        if name != "unload_dependents":
            raise InvalidInputError(f"parameter '{name[:80]}' is not known here")


def _read(body: bytes | memoryview, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInputError(f"the request does not fit the protocol: {error}") from None
