"""The chunks of another server's answer, as pieces with token counts. No I/O in here.

Source: OpenAI API reference, "The chat completion chunk object" and "The completion object".
"""

from __future__ import annotations

from typing import Any

import msgspec

from airserve.core.errors import ModelFailedError, OverloadedError
from airserve.core.generation import Piece, TokenCounts

_DONE = "[DONE]"


class UpstreamChunks:
    """Takes the data of one event after the other. `tokens` counts everything so far.

    Until the server says what was used, each chunk that brings text counts as one output token; a server that never
    says it is counted so to the end, with no input tokens.
    """

    def __init__(self, *, chat: bool) -> None:
        self.tokens = TokenCounts()
        self.done = False
        self._chat = chat
        self._finished: dict[int, dict[str, Any]] = {}

    def take(self, data: str) -> Piece | None:
        """What a chunk adds; None for one that only counts. Raises `ModelFailedError` for an error or nonsense."""
        if data.strip() == _DONE:
            self.done = True
            return None
        try:
            document = msgspec.json.decode(data, type=dict[str, Any])
            choices = [self._choice(choice) for choice in document.get("choices") or ()]
            self._count(document.get("usage"), choices)
        except (msgspec.DecodeError, AttributeError, TypeError, ValueError, KeyError):
            raise ModelFailedError("the server behind this model answered what is no chunk") from None
        if document.get("error") is not None:
            raise ModelFailedError("the server behind this model failed amid its answer")
        self._finished.update({each["index"]: each for each in choices if each["finish_reason"] is not None})
        said = [each for each in choices if each["finish_reason"] is None]
        return Piece(said, self.tokens) if said else None

    def final(self) -> Piece:
        """The last piece. Raises `OverloadedError` where the answer was cut off before it was whole."""
        if not self._finished:
            raise OverloadedError("the server behind this model broke off amid its answer; try again", retry_after=1.0)
        return Piece([self._finished[index] for index in sorted(self._finished)], self.tokens, final=True)

    def _choice(self, choice: dict[str, Any]) -> dict[str, Any]:
        said = {"delta": dict(choice.get("delta") or {})} if self._chat else {"text": str(choice.get("text") or "")}
        return {
            "index": int(choice.get("index") or 0),
            **said,
            "logprobs": choice.get("logprobs"),
            "finish_reason": choice.get("finish_reason"),
        }

    def _count(self, usage: dict[str, Any] | None, choices: list[dict[str, Any]]) -> None:
        if usage:
            cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
            counts = (int(usage["prompt_tokens"]), int(cached), int(usage.get("completion_tokens") or 0))
            if min(counts) < 0:
                raise ValueError("a negative count")
            self.tokens = TokenCounts(*counts)
            return
        texts = sum(_says_something(each) for each in choices)
        self.tokens = TokenCounts(self.tokens.input, self.tokens.cached, self.tokens.output + texts)


def _says_something(choice: dict[str, Any]) -> bool:
    delta = choice.get("delta", {})
    return bool(choice.get("text") or any(value for name, value in delta.items() if name != "role"))
