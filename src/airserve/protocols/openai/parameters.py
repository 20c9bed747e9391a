"""The parameters that chat and text completions share, with their types and ranges.

Source: OpenAI API reference, "Create chat completion" and "Create completion". What is not here is refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from airserve.core.generation import Generation
from airserve.protocols.openai.errors import ParameterError

Name = Annotated[str, Meta(min_length=1, max_length=256)]
_StopText = Annotated[str, Meta(min_length=1, max_length=1024)]
_Penalty = Annotated[float, Meta(ge=-2, le=2)]
_Bias = Annotated[float, Meta(ge=-100, le=100)]
_Count = Annotated[int, Meta(ge=1, le=1 << 20)]
_Seed = Annotated[int, Meta(ge=-(1 << 63), le=(1 << 63) - 1)]


class StreamOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`stream_options`. Obfuscation, which pads events, is never done, so either value of it may be sent."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class Sampling(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """What both routes take; null is as if absent."""

    model: Name
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    max_tokens: _Count | None = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    stop: _StopText | Annotated[list[_StopText], Meta(max_length=4)] | None = None
    seed: _Seed | None = None
    presence_penalty: _Penalty | None = None
    frequency_penalty: _Penalty | None = None
    logit_bias: dict[str, _Bias] | None = None
    # Taken and ignored: they change nothing in an answer.
    user: str | None = None
    metadata: dict[str, Any] | None = None
    store: bool | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None


_OF_THE_PROTOCOL = frozenset({"model", "stream", "stream_options"})
_IGNORED = frozenset({"user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key"})


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """What the client wants generated, by which model, and in which form it wants the answer."""

    model: str
    generation: Generation
    stream: bool
    include_usage: bool


def generation_request(sampling: Sampling, parameters: Mapping[str, Any], *, chat: bool) -> GenerationRequest:
    """`parameters` for the engine, out of a request that was checked; raises `ParameterError` for what only the whole
    request shows."""
    streaming = bool(sampling.stream)
    if sampling.stream_options is not None and not streaming:
        raise ParameterError("'stream_options' needs 'stream' to be true.", "stream_options")
    for token in sampling.logit_bias or ():
        if not token.isascii() or not token.isdigit():
            raise ParameterError(
                f"Invalid value for 'logit_bias': '{token[:80]}' is no token id, which is a whole number.", "logit_bias"
            )
    return GenerationRequest(
        model=sampling.model,
        generation=Generation(
            chat, {name: value for name, value in parameters.items() if name not in _OF_THE_PROTOCOL | _IGNORED}
        ),
        stream=streaming,
        include_usage=bool(sampling.stream_options and sampling.stream_options.include_usage),
    )
