"""`POST /v1/completions`: the request. Source: OpenAI API reference, "Create completion"."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from airserve.protocols.openai.document import fit
from airserve.protocols.openai.errors import ParameterError
from airserve.protocols.openai.parameters import GenerationRequest, Sampling, generation_request

DEFAULT_MAX_TOKENS = 16
"""OpenAI's own default for this route."""


class CompletionRequest(Sampling, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """The body of a completion request."""

    prompt: Any
    logprobs: Annotated[int, Meta(ge=0, le=5)] | None = None
    echo: bool | None = None
    best_of: Annotated[int, Meta(ge=1, le=1)] | None = None
    suffix: None = None


def decode_completion(document: Mapping[str, Any]) -> GenerationRequest:
    """The request in a JSON object. Raises `ParameterError` naming what is wrong."""
    request = fit(document, CompletionRequest)
    if request.echo:
        raise ParameterError("'echo' is not offered here: the answer holds the completion alone.", "echo")
    parameters = msgspec.to_builtins(request)
    parameters["prompt"] = _prompt(request.prompt)
    parameters.setdefault("max_tokens", DEFAULT_MAX_TOKENS)
    for name in ("echo", "best_of"):
        parameters.pop(name, None)
    return generation_request(request, parameters, chat=False)


def _prompt(given: Any) -> str:
    """One text, bare or in a list."""
    if isinstance(given, list) and len(given) == 1:
        (given,) = given
    if isinstance(given, str):
        return given
    if isinstance(given, list) and given and all(isinstance(each, str) for each in given):
        raise ParameterError("Invalid value for 'prompt': send one prompt a request.", "prompt")
    raise ParameterError(
        "Invalid value for 'prompt': expected a string; token ids are not taken, since they mean something else to "
        "every model.",
        "prompt",
        "invalid_type",
    )
