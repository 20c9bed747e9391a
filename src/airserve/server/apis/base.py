"""What the endpoints ask of an API."""

from __future__ import annotations

from typing import Protocol

from airserve.core.errors import AirserveError
from airserve.protocols.encoded import Encoded
from airserve.server.http import Request


class Api(Protocol):
    """All routes below one prefix."""

    prefix: str

    async def handle(self, request: Request) -> Encoded:
        """The response to `request`; refusals are raised."""
        ...

    def render_error(self, error: AirserveError) -> Encoded:
        """A refusal in the form that this API's clients read."""
        ...
