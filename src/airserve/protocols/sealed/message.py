"""A sealed call as the body of an HTTP request, of the media type `application/vnd.airserve.sealed`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from airserve.codecs.sealed_message import CALL_ID, MEDIA_TYPE, TENSOR, split
from airserve.codecs.tensors import to_raw
from airserve.core.call import Array, Reply, Tensors
from airserve.core.errors import UnsupportedEncodingError
from airserve.models.manifest import Manifest
from airserve.protocols import headers as wire
from airserve.protocols.encoded import Encoded

_MEDIA_TYPE = MEDIA_TYPE.encode()


@dataclass(frozen=True, slots=True)
class SealedCall:
    """What goes to the worker as it came, and the `commitment` that is the same for all attempts at the call."""

    inputs: Tensors
    commitment: bytes


def is_sealed(headers: Mapping[bytes, bytes]) -> bool:
    """Whether a request says that its body is sealed."""
    return headers.get(b"content-type", b"").partition(b";")[0].strip().lower() == _MEDIA_TYPE


def decode(manifest: Manifest, headers: Mapping[bytes, bytes], body: bytes | memoryview) -> SealedCall:
    """The call in `body`. Raises `UnsupportedEncodingError` for a model without a worker, `UnsealError`."""
    if b"content-encoding" in headers:
        raise UnsupportedEncodingError("a sealed body does not shrink; send it without Content-Encoding")
    return sealed_call(manifest, headers, body)


def sealed_call(manifest: Manifest, headers: Mapping[bytes, bytes], message: bytes | memoryview) -> SealedCall:
    """The call in `message`, under the call id of `headers`."""
    if manifest.sealed is None:
        raise UnsupportedEncodingError(
            f"model '{manifest.name}' takes no sealed calls; its operator publishes it with --sealed"
        )
    header, _ = split(message)
    call_id = wire.call_id(headers) or ""
    return SealedCall({TENSOR: _one(bytes(message)), CALL_ID: _one(call_id.encode())}, header.commitment)


def encode(reply: Reply, headers: Iterable[tuple[bytes, bytes]]) -> Encoded:
    """The sealed reply."""
    return Encoded(200, [(b"content-type", _MEDIA_TYPE), *headers], [to_raw(reply.outputs[TENSOR])])


def _one(element: bytes) -> Array:
    array = np.empty(1, dtype=object)
    array[0] = element
    return array
