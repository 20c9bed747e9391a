"""A request body as a JSON object, bounded in size, depth and numbers, and fitted to a table of parameters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from airserve.codecs.compression import inflate
from airserve.core.errors import InvalidInputError
from airserve.protocols.openai.errors import ParameterError

_MAX_DEPTH = 64
_MAX_INTEGER = 1 << 64
_PLACE = re.compile(r" - at `\$\.?(.*)`$", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`$", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(.*)`$", re.DOTALL)

Struct = TypeVar("Struct", bound=msgspec.Struct)


def read_document(headers: Mapping[bytes, bytes], body: bytes | memoryview, *, max_bytes: int) -> dict[str, Any]:
    """The JSON object in `body`, which may be compressed and then inflates to `max_bytes`; of a key that stands twice,
    the last counts. Raises `InvalidInputError` for anything else."""
    coding = headers.get(b"content-encoding")
    if coding is not None:
        body = inflate(body, coding.decode("latin-1"), max_bytes)
    try:
        document = msgspec.json.decode(body)
    except RecursionError:
        raise InvalidInputError("the body is nested too deeply") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"the body is no valid JSON: {error}") from None
    if not isinstance(document, dict):
        raise InvalidInputError('the body is a JSON object, such as {"model": "…"}')
    _check_bounds(document, _MAX_DEPTH)
    return document


def _check_bounds(value: object, depth: int) -> None:
    """Engines hand schemas and tools on to parsers of their own, which must not meet what breaks them."""
    if isinstance(value, int):
        if not -_MAX_INTEGER < value < _MAX_INTEGER:
            raise InvalidInputError("the body holds a whole number of more than 64 bits")
        return
    if not isinstance(value, (dict, list)):
        return
    if depth == 0:
        raise InvalidInputError(f"the body is nested more than {_MAX_DEPTH} deep")
    for element in value.values() if isinstance(value, dict) else value:
        _check_bounds(element, depth - 1)


def fit(document: Mapping[str, Any], kind: type[Struct]) -> Struct:
    """`document` as a `kind`; raises `ParameterError` naming the first field that is unknown, missing or wrong."""
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        raise _parameter_error(str(error)) from None


def _parameter_error(text: str) -> ParameterError:
    found = _PLACE.search(text)
    place = found[1] if found else ""
    problem = text[: found.start()] if found else text
    if unknown := _UNKNOWN.match(problem):
        param = _join(place, unknown[1])
        return ParameterError(f"Unknown parameter: '{param}'. It is not offered here.", param, "unknown_parameter")
    if missing := _MISSING.match(problem):
        param = _join(place, missing[1])
        return ParameterError(f"Missing required parameter: '{param}'.", param, "missing_required_parameter")
    problem = problem[:1].lower() + problem[1:]
    reason = "invalid_type" if ", got " in problem else "invalid_value"
    return ParameterError(f"Invalid value for '{place}': {problem}.", place or None, reason)


def _join(place: str, name: str) -> str:
    path = f"{place}.{name}" if place else name
    return path if len(path) <= 200 else path[:197] + "..."
