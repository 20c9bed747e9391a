"""A small OpenAI-compatible server that does as it is told, on a thread of the test."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

WORDS = ("Hello", " there", ",", " world")


@dataclass
class Upstream:
    """What it was asked, what became of it, and how it should behave: `refusals` are answered first, in turn."""

    url: str = ""
    usage: bool = True
    counts: tuple[int, int, int] = (11, 3, 5)
    stall_after: int | None = None
    break_after: int | None = None
    delay_s: float = 0.0
    words: tuple[str, ...] = WORDS
    refusals: list[Response] = field(default_factory=list)
    requests: list[tuple[str, dict[str, Any], dict[str, str]]] = field(default_factory=list)
    dropped: int = 0

    async def answer(self, request: Request) -> Response:
        body = await request.json()
        self.requests.append((request.url.path, body, dict(request.headers)))
        if self.refusals:
            return self.refusals.pop(0)
        return StreamingResponse(self._stream(body, "messages" in body), media_type="text/event-stream")

    async def _stream(self, body: dict[str, Any], chat: bool) -> AsyncIterator[bytes]:
        try:
            if chat:
                yield _event([{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}])
            for number, word in enumerate(self.words):
                if number == self.stall_after:
                    await asyncio.sleep(3600)
                if number == self.break_after:
                    return
                await asyncio.sleep(self.delay_s)
                said = {"delta": {"content": word}} if chat else {"text": word}
                yield _event([{"index": 0, **said, "finish_reason": None}])
            yield _event([{"index": 0, **({"delta": {}} if chat else {"text": ""}), "finish_reason": "stop"}])
            if self.usage and body.get("stream_options", {}).get("include_usage"):
                read, cached, written = self.counts
                details = {"cached_tokens": cached}
                yield _event(
                    [],
                    usage={"prompt_tokens": read, "completion_tokens": written, "prompt_tokens_details": details},
                )
            yield b"data: [DONE]\n\n"
        except (asyncio.CancelledError, GeneratorExit):
            self.dropped += 1
            raise


def refusal(status: int, message: str = "not now", **headers: str) -> Response:
    """An error of OpenAI's form."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return JSONResponse({"error": {"message": message}}, status, named)


@contextmanager
def upstream_server() -> Iterator[Upstream]:
    """Run it on a free port of loopback."""
    upstream = Upstream()
    routes = [Route(f"/v1/{path}", upstream.answer, methods=["POST"]) for path in ("chat/completions", "completions")]
    server = uvicorn.Server(
        uvicorn.Config(Starlette(routes=routes), port=0, log_level="critical", timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    upstream.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/v1"
    yield upstream
    server.should_exit = True
    thread.join(20)


def _event(choices: list[dict[str, Any]], **more: Any) -> bytes:
    return b"data: " + json.dumps({"object": "chunk", "choices": choices, **more}).encode() + b"\n\n"
