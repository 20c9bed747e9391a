"""How large the JSON Schemas of a request may be: an engine tries every alternative against every token it knows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from airserve.protocols.openai.errors import ParameterError

MAX_ALTERNATIVES = 500
"""Values of `enum`, branches of `anyOf` and the like, and properties, together. At 1,600 a token took over ten seconds
with Gemma 3 and its vocabulary of 262,144."""

_BRANCHES = ("enum", "anyOf", "oneOf", "allOf", "prefixItems")


def check_schemas(schemas: Iterable[Any], param: str) -> None:
    """Refuse schemas that have more than `MAX_ALTERNATIVES` between them."""
    waiting, alternatives = list(schemas), 0
    while waiting:
        given = waiting.pop()
        if isinstance(given, dict):
            alternatives += sum(len(given[name]) for name in _BRANCHES if isinstance(given.get(name), list))
            properties = given.get("properties")
            alternatives += len(properties) if isinstance(properties, dict) else 0
            waiting += given.values()
        elif isinstance(given, list):
            waiting += given
    if alternatives > MAX_ALTERNATIVES:
        raise ParameterError(
            f"Invalid value for '{param}': its schemas have {alternatives} alternatives (values of enum, branches, "
            f"properties); at most {MAX_ALTERNATIVES} are taken.",
            param,
        )
