"""The JSON part of an infer request, typed. `data` is left as it came until its datatype is known."""

from __future__ import annotations

import json
from typing import Any, cast

import msgspec

from airserve.core.errors import InvalidInputError

Parameters = dict[str, bool | int | float | str]


class Output(msgspec.Struct):
    """An output that the client names."""

    name: str
    parameters: Parameters | None = None


class Input(msgspec.Struct):
    """An input. `data` is raw JSON, empty where absent, or lists where the document had to be read leniently."""

    name: str
    shape: list[int]
    datatype: str
    parameters: Parameters | None = None
    data: msgspec.Raw = msgspec.Raw()

    @property
    def has_data(self) -> bool:
        """Whether the tensor is here, in JSON."""
        return not isinstance(self.data, msgspec.Raw) or bytes(self.data) not in (b"", b"null")


class Document(msgspec.Struct):
    """The whole request. Fields that the protocol does not know are ignored, as it asks."""

    inputs: list[Input]
    id: str = ""
    parameters: Parameters | None = None
    outputs: list[Output] | None = None


_decoder = msgspec.json.Decoder(Document)


def parse_document(text: bytes | memoryview) -> Document:
    """The request in `text`. Raises `InvalidInputError` with the place and the reason."""
    try:
        return _decoder.decode(text)
    except msgspec.ValidationError as error:
        raise InvalidInputError(f"the request does not fit the protocol: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return _lenient(bytes(text), str(error))
    except RecursionError:
        raise InvalidInputError("the request is nested too deeply") from None


def _lenient(text: bytes, reason: str) -> Document:
    """The bare tokens NaN and Infinity are no JSON, but clients of the protocol send them, and Python reads them."""
    if b"NaN" not in text and b"Infinity" not in text:
        raise InvalidInputError(f"the request is no valid JSON: {reason}")
    try:
        content: Any = json.loads(text)
        datas = [each.pop("data", None) for each in content["inputs"]]
        document = msgspec.convert(content, Document)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, msgspec.ValidationError):
        raise InvalidInputError(f"the request is no valid JSON: {reason}") from None
    for each, data in zip(document.inputs, datas, strict=True):
        each.data = cast(msgspec.Raw, data)
    return document
