"""What a body is, and which form an answer takes (RFC 9110 §8.3, §12.5.1)."""

from __future__ import annotations

import re
from enum import Enum
from functools import lru_cache

from airserve.core.errors import NotAcceptableError, UnsupportedEncodingError


class Form(Enum):
    """How a body is written. The value is the media type of an answer in that form."""

    JSON = "application/json"
    TEXT = "text/plain"
    NPY = "application/x-npy"
    PICTURE = "image/*"


TAKEN = "a picture (image/jpeg, image/png, image/webp), text/plain, application/json or application/x-npy"

_ANSWERS = (Form.JSON, Form.TEXT, Form.NPY)
_FORM_OF = {form.value: form for form in _ANSWERS}
# What curl says of any data, and what says nothing.
_SAYS_NOTHING = {"", "application/octet-stream", "application/x-www-form-urlencoded"}
_PICTURE = re.compile(rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|RIFF....WEBP", re.DOTALL)
_JSON = re.compile(rb"\s*[\[{]")
_RANGE = re.compile(r"\s*([\w.+*-]+)/([\w.+*-]+)\s*((?:;[^;]*)*)")
_WEIGHT = re.compile(r";\s*[qQ]\s*=\s*([01](?:\.\d{0,3})?)\s*(?:;|$)")


def form_of(content_type: bytes, body: bytes | memoryview, *, takes_text: bool) -> Form:
    """The form of a request's body: by its media type, and by its first bytes where that says nothing.

    What nothing tells apart is text where the model `takes_text`. Raises `UnsupportedEncodingError`.
    """
    media, _, parameters = content_type.decode("latin-1").lower().partition(";")
    media = media.strip()
    if media in _SAYS_NOTHING:
        return _sniffed(bytes(body[:64]), takes_text)
    if media.startswith("image/"):
        return Form.PICTURE
    if media.startswith("multipart/"):
        raise UnsupportedEncodingError("a form is not taken here; send the file itself: curl --data-binary @FILE")
    form = Form.JSON if media.endswith("+json") else _FORM_OF.get(media)
    if form is None:
        raise UnsupportedEncodingError(f"Content-Type '{media[:60]}' is not taken here; send {TAKEN}")
    charset = re.search(r"charset\s*=\s*\"?([\w-]+)", parameters)
    if form is Form.TEXT and charset is not None and charset[1] not in ("utf-8", "utf8", "us-ascii"):
        raise UnsupportedEncodingError(f"charset '{charset[1][:20]}' is not taken here; send UTF-8")
    return form


def _sniffed(start: bytes, takes_text: bool) -> Form:
    if _PICTURE.match(start):
        return Form.PICTURE
    if start.startswith(b"\x93NUMPY"):
        return Form.NPY
    if _JSON.match(start):
        return Form.JSON
    if takes_text:
        return Form.TEXT
    raise UnsupportedEncodingError(
        f"the body cannot be told from its first bytes; say with Content-Type what it is: {TAKEN}"
    )


@lru_cache(maxsize=256)
def accepted(accept: bytes) -> Form:
    """The form of the answer that the client weighs most; JSON where it does not care.

    Raises `NotAcceptableError` where it wants none of them. Ranges that are malformed are ignored.
    """
    ranges: dict[tuple[str, str], float] = {}
    for item in accept[:1024].decode("latin-1").lower().split(","):
        match = _RANGE.fullmatch(item)
        if match is not None:
            weight = _WEIGHT.search(match[3])
            ranges[match[1], match[2]] = float(weight[1]) if weight else 1.0
    if not ranges:
        return Form.JSON
    weights = {form: _weight(ranges, form) for form in _ANSWERS}
    best = max(_ANSWERS, key=weights.__getitem__)
    if not weights[best]:
        raise NotAcceptableError(f"answers come as {', '.join(_FORM_OF)}; accept one of them")
    return best


def _weight(ranges: dict[tuple[str, str], float], form: Form) -> float:
    """The most specific range that covers the form counts (RFC 9110 §12.5.1)."""
    kind, name = form.value.split("/")
    for covering in ((kind, name), (kind, "*"), ("*", "*")):
        if covering in ranges:
            return ranges[covering]
    return 0.0
