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
from airserve.client.link.sent_inputs import Digests
from airserve.client.link.sizes import raw_bytes, rows_of
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
    digests: Digests | None = None,
    back: Mapping[str, str] | None = None,
) -> CodedCall:
    """The request. `offers` has the tensors that take `codec`; the others go as they are.

    `vision` is the section of a model that takes pictures. Inputs that the service has, as `digests` say, are named.
    `back` has the codecs of outputs, which are then all named in `outputs`.
    """
    heads: list[dict[str, Any]] = []
    raws: list[bytes | memoryview] = []
    spent = 0.0
    for name, array in inputs.items():
        used = codec if name in offers else RAW
        parameters: dict[str, Any] = {} if used == RAW or is_picture(used) else {"codec": used}
        if digests is not None and (digest := digests.find(name, used)) is not None:
            parameters["digest"] = digest
        else:
            began = time.perf_counter()
            raw = _content(array, used, vision)
            if used != RAW:
                took = time.perf_counter() - began
                spent += took
                book.learn((model, name, used), rows_of(array), raw_bytes(array), len(raw), took)
            if digests is not None and (digest := digests.give(name, used, raw, coded=used != RAW)) is not None:
                parameters["digest"] = digest
            parameters["binary_data_size"] = len(raw)
            raws.append(raw)
        heads.append({"name": name, "shape": array.shape, "datatype": datatype_of(array), "parameters": parameters})
    document: dict[str, Any] = {"inputs": heads}
    if outputs is None:
        document["parameters"] = {"binary_data_output": True}
    else:
        document["outputs"] = [{"name": name, "parameters": _asked(name, back or {})} for name in outputs]
    json_part = msgspec.json.encode(document)
    headers = {
        "content-type": "application/octet-stream",
        _HEADER_LENGTH: str(len(json_part)),
        "airserve-call-id": call_id,
    }
    body = b"".join((json_part, *raws))
    return CodedCall(HttpRequest("POST", f"{model_path(model, version)}/infer", headers, body), spent)


def _asked(name: str, back: Mapping[str, str]) -> dict[str, Any]:
    """The parameters of an output that is asked for."""
    return {"binary_data": True, "codec": back[name]} if name in back else {"binary_data": True}


def _content(array: Array, codec: str, vision: Mapping[str, Any] | None) -> bytes | memoryview:
    """The bytes of an input in its codec."""
    if codec == RAW:
        return to_raw(array)
    return to_raw(_recoded(array, vision, codec)) if is_picture(codec) else _frame(array, codec)


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
            size=int(vision["size"]),
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
