"""The JSON part of an infer request, typed. `data` stays raw until its datatype and shape are known."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import msgspec
import numpy as np

from airserve.core.errors import InvalidInputError

Parameters = dict[str, bool | int | float | str]
_SMALL = 2048
_FIELDS = frozenset(("inputs", "outputs", "id", "name", "shape", "datatype", "data", "parameters"))


class Output(msgspec.Struct):
    """An output that the client names."""

    name: str
    parameters: Parameters | None = None


class Input(msgspec.Struct):
    """An input. `data` is raw JSON, empty where absent."""

    name: str
    shape: list[int]
    datatype: str
    parameters: Parameters | None = None
    data: msgspec.Raw = msgspec.Raw()

    @property
    def has_data(self) -> bool:
        """Whether the tensor is here, in JSON."""
        size = memoryview(self.data).nbytes
        return size > 4 or (size > 0 and bytes(self.data) != b"null")


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
        document = _decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        quoted = _quote_not_finite(bytes(text))
        if quoted == text:
            raise InvalidInputError(f"the request is no valid JSON: {error}") from None
        text = quoted
        try:
            document = _decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError) as failure:
            raise InvalidInputError(f"the request is no valid JSON: {failure}") from None
    _refuse_repeated(text, document)
    return document


def _refuse_repeated(text: bytes | memoryview, document: Document) -> None:
    """Refuse a field that stands twice in one object: two readers of it would not read the same.

    Counting is enough for almost every request, and costs nothing beside reading it; what looks odd is read again.
    """
    small = len(text) <= _SMALL
    head = bytes(text) if small else _without(text, [given.data for given in document.inputs])
    inputs, outputs = len(document.inputs), len(document.outputs or ())
    if (
        b"\\" in head
        or head.count(b'"inputs"') > 1
        or head.count(b'"id"') > 1
        or head.count(b'"outputs"') > 1
        or head.count(b'"name"') > inputs + outputs
        or head.count(b'"shape"') > inputs
        or head.count(b'"datatype"') > inputs
        or head.count(b'"data"') > sum(given.data != b"" for given in document.inputs)
        or head.count(b'"parameters"') > _with_parameters(document)
    ):
        try:
            json.loads(head.decode(), object_pairs_hook=_each_once)
        except (ValueError, RecursionError) as error:
            raise InvalidInputError(f"the request is no valid JSON: {error}") from None


def _with_parameters(document: Document) -> int:
    return sum(each.parameters is not None for each in (document, *document.inputs, *(document.outputs or ())))


def _without(text: bytes | memoryview, parts: Sequence[msgspec.Raw]) -> bytes:
    """`text` with a 0 in the place of each of `parts`, which are views of it."""
    start = _address(text)
    kept: list[bytes | memoryview] = []
    at = 0
    for part in parts:
        size = memoryview(part).nbytes
        if size:
            begin = _address(part) - start
            kept += (text[at:begin], b"0")
            at = begin + size
    kept.append(text[at:])
    return b"".join(kept)


def _address(part: bytes | memoryview | msgspec.Raw) -> int:
    address: int = np.frombuffer(part, np.uint8).__array_interface__["data"][0]
    return address


def _each_once(pairs: list[tuple[str, object]]) -> None:
    names = [name for name, _ in pairs]
    for name in _FIELDS.intersection(names):
        if names.count(name) > 1:
            raise InvalidInputError(f"'{name}' stands twice in one object of the request; say it once")


def _decode(text: bytes | memoryview) -> Document:
    try:
        return _decoder.decode(text)
    except msgspec.ValidationError as error:
        raise InvalidInputError(f"the request does not fit the protocol: {error}") from None
    except RecursionError:
        raise InvalidInputError("the request is nested too deeply") from None


# A text, ended or not, is passed over whole and without going back, so that the time stays linear in the body.
_token = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|-?Infinity|NaN', re.DOTALL)


def _quote_not_finite(text: bytes) -> bytes:
    """The bare tokens NaN and Infinity are no JSON, but clients of the protocol send them: made texts here."""
    if b"NaN" not in text and b"Infinity" not in text:
        return text
    return _token.sub(lambda found: found[0] if found[0][:1] == b'"' else b'"%s"' % found[0], text)
