"""Choices that came in pieces, put together: OpenAI's `choices` of chunks become those of a whole answer.

Source: OpenAI API reference, "The chat completion chunk object" and "The chat completion object".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


class Choices:
    """Grows by the pieces of any number of choices, in the order in which they come."""

    def __init__(self) -> None:
        self._grown: dict[int, _Choice] = {}

    def add(self, pieces: Iterable[Mapping[str, Any]]) -> None:
        """The `choices` of one chunk: with a `delta` each for chat, with a `text` for completions."""
        for piece in pieces:
            self._grown.setdefault(piece.get("index") or 0, _Choice()).add(piece)

    def messages(self) -> list[dict[str, Any]]:
        """The choices of a chat completion."""
        return [
            {"index": index, "message": choice.message(), **choice.ending()}
            for index, choice in sorted(self._grown.items())
        ]

    def texts(self) -> list[dict[str, Any]]:
        """The choices of a text completion."""
        return [
            {"index": index, "text": choice.text("content"), **choice.ending()}
            for index, choice in sorted(self._grown.items())
        ]


@dataclass(slots=True)
class _Choice:
    """`parts` are the string fields of a message, in pieces; `tools` its tool calls by their index."""

    parts: dict[str, list[str]] = field(default_factory=dict)
    tools: dict[int, dict[str, Any]] = field(default_factory=dict)
    logprobs: dict[str, list[Any]] = field(default_factory=dict)
    finish_reason: str | None = None

    def add(self, piece: Mapping[str, Any]) -> None:
        delta = piece.get("delta") or {"content": piece.get("text")}
        for name, value in delta.items():
            if isinstance(value, str) and name != "role":
                self.parts.setdefault(name, []).append(value)
        for call in delta.get("tool_calls") or ():
            _add_tool_call(self.tools, call)
        for name, values in (piece.get("logprobs") or {}).items():
            if isinstance(values, list):
                self.logprobs.setdefault(name, []).extend(values)
        self.finish_reason = piece.get("finish_reason") or self.finish_reason

    def text(self, name: str) -> str:
        return "".join(self.parts.get(name, ()))

    def message(self) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": "", "refusal": None}
        message.update({name: self.text(name) for name in self.parts})
        if self.tools:
            message["content"] = message["content"] or None
            message["tool_calls"] = [self.tools[index] for index in sorted(self.tools)]
        return message

    def ending(self) -> dict[str, Any]:
        return {"logprobs": self.logprobs or None, "finish_reason": self.finish_reason or "stop"}


def _add_tool_call(calls: dict[int, dict[str, Any]], piece: Mapping[str, Any]) -> None:
    call = calls.setdefault(
        piece.get("index") or 0, {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
    )
    call["id"] = piece.get("id") or call["id"]
    function = piece.get("function") or {}
    call["function"]["name"] += function.get("name") or ""
    call["function"]["arguments"] += function.get("arguments") or ""
