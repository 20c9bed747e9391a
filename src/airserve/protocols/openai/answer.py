"""The pieces of an answer as one document: a chat completion, or a text completion.

Source: OpenAI API reference, "The chat completion object" and "The completion object".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from airserve.core.choices import Choices
from airserve.core.generation import Piece, TokenCounts
from airserve.protocols.encoded import Encoded, Headers

JSON = (b"content-type", b"application/json")


def reply_headers(request_id: str, elapsed_ns: int) -> Headers:
    """What every reply says of itself, refusals too: its id, and how long it took until it could begin, in ms."""
    return [(b"x-request-id", request_id.encode()), (b"openai-processing-ms", b"%d" % (elapsed_ns // 1_000_000))]


@dataclass(frozen=True, slots=True)
class Head:
    """What every document of one answer says of it. `model` is as the client named it; `created` is in Unix seconds;
    `fingerprint` changes whenever the weights do."""

    id: str
    created: int
    model: str
    fingerprint: str
    chat: bool

    def document(self, kind: str) -> dict[str, Any]:
        """The fields, before choices and usage."""
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
        }


def usage(tokens: TokenCounts) -> dict[str, Any]:
    """The usage object; cached tokens are part of the prompt's."""
    return {
        "prompt_tokens": tokens.input,
        "completion_tokens": tokens.output,
        "total_tokens": tokens.input + tokens.output,
        "prompt_tokens_details": {"cached_tokens": tokens.cached},
    }


class Answer:
    """Collects the pieces of one answer."""

    def __init__(self, head: Head) -> None:
        self._head = head
        self._choices = Choices()
        self._tokens = TokenCounts()

    def add(self, piece: Piece) -> None:
        """The next piece."""
        self._tokens = piece.tokens
        self._choices.add(piece.choices)

    def document(self) -> dict[str, Any]:
        """The whole answer."""
        if self._head.chat:
            kind, choices = "chat.completion", self._choices.messages()
        else:
            kind, choices = "text_completion", self._choices.texts()
        return {**self._head.document(kind), "choices": choices, "usage": usage(self._tokens)}

    def encode(self) -> Encoded:
        """The answer as a response."""
        return Encoded(200, [JSON], [msgspec.json.encode(self.document())])
