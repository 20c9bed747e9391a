"""Request parameters, in their own message type of the protocol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from protobuf import Oneof

from airserve.protocols.protos.open_inference_pb import InferParameter

Value = bool | int | float | str


def values_of(parameters: Mapping[str, InferParameter]) -> dict[str, Value]:
    """The parameters as plain values; one without a value is left out."""
    return {name: given.parameter_choice.value for name, given in parameters.items() if given.parameter_choice}


def text(value: str) -> InferParameter:
    """A parameter that is a text."""
    choice: Oneof[Literal["string_param"], str] = Oneof("string_param", value)
    return InferParameter(parameter_choice=choice)


def number(value: float) -> InferParameter:
    """A parameter that is a number."""
    choice: Oneof[Literal["double_param"], float] = Oneof("double_param", value)
    return InferParameter(parameter_choice=choice)


def boolean(value: bool) -> InferParameter:
    """A parameter that is true or false."""
    choice: Oneof[Literal["bool_param"], bool] = Oneof("bool_param", value)
    return InferParameter(parameter_choice=choice)
