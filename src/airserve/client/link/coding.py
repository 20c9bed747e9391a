"""A call's inputs in a plan's codec, as a request of the Open Inference Protocol."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from airserve.client.exchange import HttpRequest, model_path
from airserve.client.link.codec_book import CodecBook
from airserve.client.link.offer import CodecOffer
from airserve.client.link.plan import RAW
from airserve.codecs.tensors import from_raw, to_raw
from airserve.core.call import Array, Tensors
from airserve.core.errors import InvalidInputError
from airserve.core.tensor import datatype_of

_PICTURES = ("webp", "jpeg")
_HEADER_LENGTH = "inference-header-content-length"
MAX_ANSWER_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class CodedCall:
    """A request and the seconds that its codec took."""

    request: HttpRequest
    seconds: float


def is_picture(codec: str) -> bool:
    """Whether `codec` codes pictures."""
    return codec.partition(":")[0] in _PICTURES


def raw_bytes(array: Array) -> int:
    """What an array takes on the wire as it is."""
    if array.dtype.kind in "OSU":
        return sum(4 + len(each if isinstance(each, bytes) else str(each).encode()) for each in array.ravel())
    return int(array.nbytes)


def rows_of(array: Array) -> int:
    """The first axis."""
    return int(array.shape[0]) if array.ndim else 1


def coded_call(
    model: str,
    version: str | None,
    inputs: Tensors,
    codec: str,
    offers: Mapping[str, CodecOffer],
    vision: Mapping[str, Any] | None,
    outputs: Sequence[str] | None,
    call_id: str,
    book: CodecBook,
) -> CodedCall:
    """The request. `offers` has the tensors that take `codec`; the others go as they are.

    `vision` is the section of a model that takes pictures.
    """
    heads: list[dict[str, Any]] = []
    raws: list[bytes | memoryview] = []
    spent = 0.0
    for name, array in inputs.items():
        head: dict[str, Any] = {"name": name, "shape": array.shape, "datatype": datatype_of(array)}
        parameters: dict[str, Any] = {}
        raw: bytes | memoryview
        if codec == RAW or name not in offers:
            raw = to_raw(array)
        else:
            began = time.perf_counter()
            if is_picture(codec):
                raw = to_raw(_recoded(array, vision, codec))
            else:
                raw = _frame(array, codec)
                parameters["codec"] = codec
            took = time.perf_counter() - began
            spent += took
            book.learn((model, name, codec), rows_of(array), raw_bytes(array), len(raw), took)
        raws.append(raw)
        heads.append({**head, "parameters": {"binary_data_size": len(raw), **parameters}})
    document: dict[str, Any] = {"inputs": heads}
    if outputs is None:
        document["parameters"] = {"binary_data_output": True}
    else:
        document["outputs"] = [{"name": name, "parameters": {"binary_data": True}} for name in outputs]
    json_part = msgspec.json.encode(document)
    headers = {
        "content-type": "application/octet-stream",
        _HEADER_LENGTH: str(len(json_part)),
        "airserve-call-id": call_id,
    }
    body = b"".join((json_part, *raws))
    return CodedCall(HttpRequest("POST", f"{model_path(model, version)}/infer", headers, body), spent)


def _frame(array: Array, codec: str) -> bytes:
    from airserve.codecs.frame import encode

    return encode(array, codec)


def _recoded(array: Array, vision: Mapping[str, Any] | None, codec: str) -> Array:
    """Each picture scaled as the model would, and coded anew; those that grow stay as they were."""
    from airserve.codecs.pictures import MAX_PIXELS, recode

    if vision is None:
        raise InvalidInputError(f"codec '{codec}' is for models that take pictures")
    small = np.empty(array.shape, dtype=object)
    for index, picture in np.ndenumerate(array):
        coded = recode(
            bytes(picture),
            resize=int(vision["resize"]),
            codec=codec,
            resample=str(vision.get("resample", "bilinear")),
            max_pixels=int(vision.get("max_pixels", MAX_PIXELS)),
        )
        small[index] = min(coded, bytes(picture), key=len)
    return small


def decoded(raw: memoryview, head: Mapping[str, Any]) -> Array:
    """One output of an answer, which may have come as a frame."""
    if (head.get("parameters") or {}).get("codec") is None:
        return from_raw(raw, head["datatype"], head["shape"], head["name"])
    from airserve.codecs.frame import decode

    return decode(raw, max_bytes=MAX_ANSWER_BYTES)
