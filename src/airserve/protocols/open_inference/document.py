"""The JSON part of an infer request, typed. `data` stays raw until its datatype and shape are known."""

from __future__ import annotations

import re

import msgspec

from airserve.core.errors import InvalidInputError

Parameters = dict[str, bool | int | float | str]


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
        return _decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        quoted = _quote_not_finite(bytes(text))
        if quoted == text:
            raise InvalidInputError(f"the request is no valid JSON: {error}") from None
    try:
        return _decode(quoted)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"the request is no valid JSON: {error}") from None


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
