"""The most that a call can cost and use, before it runs: what budgets hold and limits reserve."""

from __future__ import annotations

import math
from typing import NamedTuple

import msgspec

from airserve.core.call import Call
from airserve.core.generation import Generation
from airserve.core.tensor import Signature, TensorSpec
from airserve.metering.event import INT64_MAX
from airserve.metering.prices import MILLION, NANO, Price
from airserve.models.catalog import DeploymentSpec

OTHER_CONTEXT = 131_072
"""Tokens that a model on another server may take, where nobody has said how many."""
_TEMPLATE_TOKENS = 256
"""More tokens than a prompt has bytes: what a chat template puts around it."""
_BYTES_OF_TOKEN = 256
"""No token of a vocabulary in use is longer."""
_UNKNOWN_SIZE = 1024
"""Elements on a free axis, and bytes of a text, where only the model knows how many it will give."""


class Most(NamedTuple):
    """The most that one call may use; `nano` in 1e-9 of its price's currency, bytes of request and reply together."""

    nano: int
    tokens: int
    size_bytes: int


def of_tensors(call: Call, reply_bytes: int, price: Price, now_ns: int) -> Most:
    """Of a call of tensors, whose reply has at most `reply_bytes` a row.

    It computes until its deadline at the latest, since what is later costs nothing.
    """
    size = call.bytes_in + reply_bytes * call.rows
    return Most(_most_nano(price, max(0, call.deadline_ns - now_ns), 0, 0, size), 0, size)


def of_generation(call: Call, generation: Generation, spec: DeploymentSpec, price: Price, now_ns: int) -> Most:
    """Of a generation: no more tokens than bytes of prompt, and `max_tokens` (or the model's context) an answer.

    The text is measured, not the body, which may have come compressed.
    """
    parameters = generation.parameters
    language = spec.manifest.language
    context = OTHER_CONTEXT if language is None else language.context
    prompt = min(context, len(msgspec.json.encode(parameters)) + _TEMPLATE_TOKENS)
    answer = min(_answers(generation) * context, asked_tokens(generation) or INT64_MAX)
    size = call.bytes_in + answer * _BYTES_OF_TOKEN
    nano = _most_nano(price, max(0, call.deadline_ns - now_ns), prompt, answer, size)
    return Most(nano, prompt + answer, size)


def asked_tokens(generation: Generation) -> int | None:
    """The most tokens that all answers together may have by the request; None where it does not say."""
    asked = generation.parameters.get("max_completion_tokens") or generation.parameters.get("max_tokens")
    return None if not asked else _answers(generation) * int(asked)


def _answers(generation: Generation) -> int:
    return generation.parameters.get("n") or 1


def _most_nano(price: Price, compute_ns: int, prompt: int, answer: int, size: int) -> int:
    dearest = max(price.per_million_input_tokens_nano, price.per_million_cached_tokens_nano) if prompt else 0
    millions = dearest * prompt + price.per_million_output_tokens_nano * answer + price.per_megabyte_nano * size
    # Rounded up; the same sum as `metering.prices.amount_nano`, which rounds half up.
    of_time = price.per_compute_second_nano * compute_ns
    return min(INT64_MAX, price.per_call_nano - (-(of_time + millions * (NANO // MILLION)) // NANO))


def bytes_a_row(signature: Signature) -> int:
    """The most bytes of tensors in the reply to one row (to all, where the model does not batch)."""
    return sum(_tensor_bytes(spec, batches=bool(signature.max_batch)) for spec in signature.outputs)


def _tensor_bytes(spec: TensorSpec, *, batches: bool) -> int:
    sizes = [_UNKNOWN_SIZE if size < 0 else size for size in spec.shape]
    if sizes and batches:
        sizes[0] = 1
    return math.prod(sizes) * (_UNKNOWN_SIZE if spec.datatype == "BYTES" else spec.dtype.itemsize)
