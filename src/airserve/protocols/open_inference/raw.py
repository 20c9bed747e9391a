"""A raw request (`Inference-Header-Content-Length: 0`): the whole body is the model's only input."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from airserve.codecs.tensors import from_raw
from airserve.core.call import Array, Tensors
from airserve.core.errors import InvalidInputError
from airserve.core.tensor import Signature


def raw_request(model: str, signature: Signature, body: bytes | memoryview) -> tuple[Tensors, int]:
    """The input and its rows, always 1. At most one axis may be free; its size follows from the body's."""
    if len(signature.inputs) != 1:
        raise InvalidInputError(
            f"a raw request needs a model with exactly one input, '{model}' has {len(signature.inputs)}"
        )
    (spec,) = signature.inputs
    shape = list(spec.shape)
    if signature.max_batch:
        shape[0] = 1
    if spec.datatype == "BYTES":
        if any(size not in (1, -1) for size in shape):
            raise InvalidInputError(f"a raw request for BYTES needs an input of shape [1], '{spec.name}' has another")
        text = np.empty(1, dtype=object)
        text[0] = bytes(body)
        return {spec.name: text.reshape([1] * len(shape))}, 1
    if shape.count(-1) > 1:
        raise InvalidInputError(f"input '{spec.name}' has more than one variable dimension; send its shape in JSON")
    if -1 in shape:
        known = math.prod(size for size in shape if size != -1) * spec.dtype.itemsize
        if not known or len(body) % known:
            raise InvalidInputError(
                f"input byte size mismatch for input '{spec.name}' for model '{model}'. "
                f"Expected a multiple of {known}, got {len(body)}"
            )
        shape[shape.index(-1)] = len(body) // known
    return {spec.name: from_raw(body, spec.datatype, shape, spec.name)}, 1


def raw_tensor(model: str, data: bytes | memoryview, datatype: str, shape: Sequence[int], name: str) -> Array:
    """The tensor in `data`, a view of it; refusals name the model, as clients expect."""
    try:
        return from_raw(data, datatype, shape, name)
    except InvalidInputError as error:
        where = f"for input '{name}'"
        raise InvalidInputError(error.message.replace(where, f"{where} for model '{model}'", 1)) from None
