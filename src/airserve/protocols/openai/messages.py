"""The messages of a conversation, by role, and the tools that an answer may call.

Source: OpenAI API reference, "Create chat completion". Fields that clients send back from an earlier answer without
meaning anything (`refusal`, `annotations` …) are taken and left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from airserve.protocols.openai.errors import ParameterError
from airserve.protocols.openai.parameters import Name


class Part(msgspec.Struct, frozen=True, omit_defaults=True):
    """A part of a message's content. `type` other than text is read to be refused by name."""

    type: str
    text: str | None = None


Content = str | Annotated[list[Part], Meta(min_length=1)]


class FunctionCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A call that a model asked for; `arguments` is JSON in a string, as the model wrote it."""

    name: str
    arguments: str


class ToolCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One of an assistant's tool calls."""

    id: str
    function: FunctionCall
    type: Literal["function"] = "function"
    index: int | None = None


class _Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    name: str | None = None


class SystemMessage(_Message, frozen=True, tag_field="role", tag="system"):
    """What the model should be."""

    content: Content


class DeveloperMessage(_Message, frozen=True, tag_field="role", tag="developer"):
    """The newer name of `system`; engines know that one."""

    content: Content


class UserMessage(_Message, frozen=True, tag_field="role", tag="user"):
    """What a person says."""

    content: Content


class AssistantMessage(_Message, frozen=True, tag_field="role", tag="assistant"):
    """What the model said before."""

    content: Content | None = None
    tool_calls: list[ToolCall] | None = None
    refusal: str | None = None
    annotations: list[Any] | None = None
    audio: None = None
    function_call: None = None
    reasoning_content: str | None = None


class ToolMessage(_Message, frozen=True, tag_field="role", tag="tool"):
    """What a tool answered."""

    content: Content
    tool_call_id: str


Message = SystemMessage | DeveloperMessage | UserMessage | AssistantMessage | ToolMessage


class Function(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A function that the model may call; `parameters` is a JSON Schema."""

    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A tool; there are functions only."""

    type: Literal["function"]
    function: Function


class NamedFunction(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The function that the model has to call."""

    name: Name


class ToolChoice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`tool_choice` as an object."""

    type: Literal["function"]
    function: NamedFunction


_NOT_FOR_THE_ENGINE = frozenset(("refusal", "annotations", "reasoning_content"))


def for_the_engine(message: Mapping[str, Any], index: int) -> dict[str, Any]:
    """A checked message as engines take it: content one string. Raises `ParameterError` for pictures, sound, files."""
    kept = {name: value for name, value in message.items() if name not in _NOT_FOR_THE_ENGINE}
    if kept["role"] == "developer":
        kept["role"] = "system"
    if isinstance(kept.get("content"), list):
        kept["content"] = "\n".join(
            _text(part, f"messages[{index}].content[{number}]") for number, part in enumerate(kept["content"])
        )
    elif kept.get("content") is None:
        if not kept.get("tool_calls"):
            raise ParameterError(
                f"Missing required parameter: 'messages[{index}].content'.",
                f"messages[{index}].content",
                "missing_required_parameter",
            )
        kept["content"] = ""
    return kept


def _text(part: Mapping[str, Any], param: str) -> str:
    if part["type"] != "text":
        raise ParameterError(
            f"Invalid value for '{param}': a part of type '{part['type'][:40]}' is not taken here; models read text "
            'only, as {"type": "text", "text": "…"}.',
            param,
        )
    if "text" not in part:
        raise ParameterError(f"Missing required parameter: '{param}.text'.", param, "missing_required_parameter")
    text: str = part["text"]
    return text
