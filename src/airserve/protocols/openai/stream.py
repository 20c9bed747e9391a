"""The pieces of an answer as server-sent events: `data: {…}`, at the end `data: [DONE]`.

Source: OpenAI API reference, "Streaming"; WHATWG HTML, "Server-sent events".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from airserve.core.errors import AirserveError
from airserve.core.generation import Piece, TokenCounts
from airserve.protocols.encoded import Headers
from airserve.protocols.openai.answer import Head, usage
from airserve.protocols.openai.errors import error_document

STREAM_HEADERS: Headers = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    # Proxies of the nginx family hold events back without it.
    (b"x-accel-buffering", b"no"),
]
DONE = b"data: [DONE]\n\n"


class Events:
    """Writes the events of one answer. With `include_usage`, a last event has no choices and says what was used."""

    def __init__(self, head: Head, *, include_usage: bool) -> None:
        self._chat = head.chat
        self._frame = head.document("chat.completion.chunk" if head.chat else "text_completion")
        if include_usage:
            self._frame["usage"] = None
        self._include_usage = include_usage
        self._begun: set[int] = set()

    def piece(self, piece: Piece) -> bytes:
        """The event of one piece; nothing where it brings no choice."""
        if not piece.choices:
            return b""
        return event({**self._frame, "choices": [self._choice(choice) for choice in piece.choices]})

    def _choice(self, choice: Mapping[str, Any]) -> dict[str, Any]:
        index = choice.get("index") or 0
        ending = {"logprobs": choice.get("logprobs"), "finish_reason": choice.get("finish_reason")}
        if not self._chat:
            return {"index": index, "text": choice.get("text") or "", **ending}
        delta = dict(choice.get("delta") or {})
        if index not in self._begun:
            self._begun.add(index)
            delta = {"role": "assistant", "content": "", **{name: v for name, v in delta.items() if v is not None}}
        return {"index": index, "delta": delta, **ending}

    def end(self, tokens: TokenCounts) -> bytes:
        """What follows the last piece."""
        if not self._include_usage:
            return DONE
        return event({**self._frame, "choices": [], "usage": usage(tokens)}) + DONE


def event(document: Mapping[str, Any]) -> bytes:
    """One event. JSON holds no line breaks, so one `data:` line is enough."""
    return b"data: " + msgspec.json.encode(document) + b"\n\n"


def error_event(error: AirserveError) -> bytes:
    """A failure after the answer has begun; nothing follows it."""
    return event(error_document(error))
