"""One request through an ASGI application: how the control API, a FastAPI application, stands beside the others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import unquote

from airserve.protocols.encoded import Encoded
from airserve.server.http import Request

Message = MutableMapping[str, Any]
Application = Callable[
    [MutableMapping[str, Any], Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]

ASKED = "airserve.request"
"""Under which extension of the scope an application finds the request as the front told of it."""
_KEPT_BY_THE_FRONT = {b"content-length", b"transfer-encoding", b"connection"}


async def answer(application: Application, request: Request, max_body_bytes: int) -> Encoded:
    """The whole answer of `application` to `request`, whose body is bounded."""
    body = bytes(await request.read(max_body_bytes))
    path, _, query = request.path.partition("?")
    scope: MutableMapping[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": "https",
        "path": unquote(path),
        "raw_path": path.encode("latin-1"),
        "query_string": query.encode("latin-1"),
        "root_path": "",
        "headers": list(request.headers.items()),
        "client": (request.client, 0) if request.client else None,
        "server": None,
        "extensions": {ASKED: request},
    }
    sent = _Sent()

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    await application(scope, receive, sent.send)
    return Encoded(sent.status, sent.headers, [b"".join(sent.chunks)] if sent.chunks else [])


class _Sent:
    """Collects what an application sends."""

    def __init__(self) -> None:
        self.status = 500
        self.headers: list[tuple[bytes, bytes]] = []
        self.chunks: list[bytes] = []

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = [
                (name.lower(), value)
                for name, value in message.get("headers", ())
                if name.lower() not in _KEPT_BY_THE_FRONT
            ]
        elif message["type"] == "http.response.body" and message.get("body"):
            self.chunks.append(message["body"])
