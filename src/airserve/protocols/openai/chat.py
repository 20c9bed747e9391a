"""`POST /v1/chat/completions`: the request. Source: OpenAI API reference, "Create chat completion"."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from airserve.protocols.openai.document import fit
from airserve.protocols.openai.errors import ParameterError
from airserve.protocols.openai.messages import Message, Tool, ToolChoice, for_the_engine
from airserve.protocols.openai.parameters import GenerationRequest, Name, Sampling, generation_request
from airserve.protocols.openai.schema_bounds import check_schemas


class TextFormat(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="text"):
    """Plain text, the default."""


class JsonObjectFormat(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="json_object"):
    """Any JSON object."""


class Schema(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A named JSON Schema."""

    name: Name
    schema: dict[str, Any]
    description: str | None = None
    strict: bool | None = None


class JsonSchemaFormat(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="json_schema"):
    """JSON that fits a schema."""

    json_schema: Schema


class ChatRequest(Sampling, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """The body of a chat request."""

    messages: Annotated[list[Message], Meta(min_length=1, max_length=4096)]
    max_completion_tokens: Annotated[int, Meta(ge=1, le=1 << 20)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    response_format: TextFormat | JsonObjectFormat | JsonSchemaFormat | None = None
    tools: Annotated[list[Tool], Meta(min_length=1, max_length=128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    modalities: list[Literal["text"]] | None = None


def decode_chat(document: Mapping[str, Any]) -> GenerationRequest:
    """The request in a JSON object. Raises `ParameterError` naming what is wrong."""
    request = fit(document, ChatRequest)
    if request.max_tokens is not None and request.max_completion_tokens is not None:
        raise ParameterError("'max_tokens' is the old name of 'max_completion_tokens'; send one of them.", "max_tokens")
    if request.top_logprobs is not None and not request.logprobs:
        raise ParameterError("'top_logprobs' needs 'logprobs' to be true.", "top_logprobs")
    if request.tools is None and request.tool_choice not in (None, "none", "auto"):
        raise ParameterError("'tool_choice' is only allowed when 'tools' are given.", "tool_choice")
    check_schemas([tool.function.parameters for tool in request.tools or ()], "tools")
    if isinstance(request.response_format, JsonSchemaFormat):
        check_schemas([request.response_format.json_schema.schema], "response_format")
    parameters = msgspec.to_builtins(request)
    parameters.pop("modalities", None)
    parameters["messages"] = [for_the_engine(message, index) for index, message in enumerate(parameters["messages"])]
    if request.max_completion_tokens is not None:
        parameters["max_tokens"] = parameters.pop("max_completion_tokens")
    return generation_request(request, parameters, chat=True)
