"""One chat as the client sees it, without any I/O: what to send, and an answer whole or in events.

Source: OpenAI API reference, "Create chat completion" and "Streaming".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from airserve.client.exchange import HttpRequest, HttpResponse, parse_json, refusal
from airserve.codecs.server_sent_events import take_events
from airserve.core.choices import Choices
from airserve.core.errors import AirserveError, UnreachableError
from airserve.core.generation import TokenCounts

Messages = str | Sequence[Mapping[str, Any]]
"""A conversation in OpenAI's form; a string alone is what the user says."""

JSON = "application/json"


@dataclass(frozen=True, slots=True)
class ChatReply:
    """An answer. `text`, `finish_reason` and `tool_calls` are those of the first of its `choices`."""

    choices: list[dict[str, Any]]
    usage: TokenCounts

    @property
    def text(self) -> str:
        """What the model says; empty where it calls tools instead."""
        return str(self._message.get("content") or "")

    @property
    def tool_calls(self) -> list[dict[str, Any]]:
        """The calls that the model asks for."""
        return list(self._message.get("tool_calls") or ())

    @property
    def finish_reason(self) -> str | None:
        """Why it ended: `stop`, `length` (no tokens were left), `tool_calls`."""
        return self.choices[0].get("finish_reason") if self.choices else None

    @property
    def _message(self) -> dict[str, Any]:
        return dict(self.choices[0]["message"]) if self.choices else {}


def chat_request(
    model: str, messages: Messages, parameters: Mapping[str, Any], *, stream: bool, call_id: str
) -> HttpRequest:
    """A chat request; `parameters` are OpenAI's, by their names."""
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    document: dict[str, Any] = {"model": model, "messages": list(messages), **parameters}
    if stream:
        document |= {"stream": True, "stream_options": {"include_usage": True}}
    headers = {"content-type": JSON, "airserve-call-id": call_id}
    return HttpRequest("POST", "/v1/chat/completions", headers, msgspec.json.encode(document))


def parse_chat(response: HttpResponse) -> ChatReply:
    """The answer in a response."""
    document = parse_json(response.body)
    try:
        return ChatReply(choices=list(document["choices"]), usage=_usage(document["usage"]))
    except (KeyError, TypeError, AttributeError):
        raise _no_chat() from None


class ChatEvents:
    """An answer that comes in server-sent events, in pieces cut anywhere."""

    def __init__(self) -> None:
        self._choices = Choices()
        self._usage = TokenCounts()
        self._rest = b""
        self.finished = False

    def feed(self, data: bytes | memoryview) -> list[str]:
        """The pieces of text that `data` completes. Raises the failure that an event tells of."""
        events, self._rest = take_events(self._rest + bytes(data))
        texts = (self._event(event) for event in events)
        return [text for text in texts if text]

    def end(self) -> None:
        """No more data will come; raises `UnreachableError` where the answer is not whole."""
        if not self.finished:
            raise UnreachableError("the connection was lost before the answer was whole")

    @property
    def reply(self) -> ChatReply:
        """What has come so far; whole once `finished`. The usage comes with the last event."""
        return ChatReply(choices=self._choices.messages(), usage=self._usage)

    def _event(self, data: str) -> str:
        if self.finished:
            return ""
        if data == "[DONE]":
            self.finished = True
            return ""
        document = parse_json(data.encode())
        try:
            if "error" in document:
                raise refusal(document, None)
            if document.get("usage") is not None:
                self._usage = _usage(document["usage"])
            self._choices.add(document["choices"])
            return "".join(
                choice["delta"].get("content") or "" for choice in document["choices"] if not choice.get("index")
            )
        except (KeyError, TypeError, AttributeError):
            raise _no_chat() from None


def _usage(usage: Mapping[str, Any]) -> TokenCounts:
    details = usage.get("prompt_tokens_details") or {}
    return TokenCounts(usage["prompt_tokens"], details.get("cached_tokens", 0), usage["completion_tokens"])


def _no_chat() -> AirserveError:
    return AirserveError("the answer is no chat completion; is the URL that of an Airserve service?")
