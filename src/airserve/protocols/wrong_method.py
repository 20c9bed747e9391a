"""The refusal of a method that a route does not take, the same for every protocol over HTTP."""

from __future__ import annotations

from airserve.core.errors import MethodNotAllowedError


class WrongMethodError(MethodNotAllowedError):
    """The path exists for the method `allow`, which the response names (RFC 9110 §15.5.6)."""

    def __init__(self, allow: str) -> None:
        super().__init__(f"Method Not Allowed: this route takes {allow}")
        self.allow = allow
