"""A sealed call as bytes: what is in the clear, what is inside the seal, and what the seal is bound to.

    message = version(1) ‖ key id(8) ‖ KEM(2) ‖ KDF(2) ‖ AEAD(2) ‖ commitment(32) ‖ enc ‖ ciphertext ‖ tag
    inside  = time(8, ns) ‖ reply secret(32) ‖ salt(32) ‖ content ‖ zeros up to a bucket
    content = length(4) ‖ MessagePack of `Content` ‖ raw tensors

The identifiers are those of HPKE (RFC 9180 §7), integers are big-endian. The commitment, HMAC-SHA256(salt, content),
says nothing of the content to who does not know the salt; it is the same for every attempt at one call, so that who
cannot read the call can still tell that it is the same one. Nothing here needs a library for cryptography.
"""

from __future__ import annotations

import hmac
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from airserve.codecs.tensors import from_raw, to_raw
from airserve.core.call import Tensors
from airserve.core.errors import InvalidInputError, UnsealError
from airserve.core.tensor import NUMPY_OF, datatype_of

MEDIA_TYPE = "application/vnd.airserve.sealed"
TENSOR = "airserve.sealed"
"""The name of the one BYTES tensor that carries a sealed call, or its sealed reply, where there is no media type."""
CALL_ID = "airserve.call-id"
"""The name of the tensor beside it, on the way to the worker alone."""

FLAT = "the sealed call cannot be opened: seal it anew, to this model and version, under the call id that is sent"
SMALLEST = 512
"""The bucket of the shortest plaintext, in bytes."""

_VERSION = 1
_HEADER = struct.Struct(">B8sHHH32s")
_INNER = struct.Struct(">Q32s32s")
_LENGTH = struct.Struct(">I")
_TEXT = struct.Struct(">H")


@dataclass(frozen=True, slots=True)
class Header:
    """The part of a sealed call that is in the clear."""

    key_id: bytes
    kem: int
    kdf: int
    aead: int
    commitment: bytes

    @property
    def raw(self) -> bytes:
        """As it stands in the message."""
        return _HEADER.pack(_VERSION, self.key_id, self.kem, self.kdf, self.aead, self.commitment)


@dataclass(frozen=True, slots=True)
class Inner:
    """What is inside the seal. `sent_ns` is UTC on the client's clock."""

    sent_ns: int
    secret: bytes
    salt: bytes
    content: bytes | memoryview


class _Part(msgspec.Struct, frozen=True, array_like=True):
    name: str
    datatype: str
    shape: tuple[int, ...]
    size: int


class Content(msgspec.Struct, frozen=True, array_like=True):
    """The head of a content: its tensors in order, and the outputs that are asked for (None: all)."""

    tensors: list[_Part]
    outputs: list[str] | None = None


def split(message: bytes | memoryview) -> tuple[Header, memoryview]:
    """The header of a sealed call, and enc ‖ ciphertext ‖ tag. Raises `UnsealError`."""
    if len(message) < _HEADER.size or message[0] != _VERSION:
        raise UnsealError(FLAT)
    _, key_id, kem, kdf, aead, commitment = _HEADER.unpack_from(message)
    return Header(key_id, kem, kdf, aead, commitment), memoryview(message)[_HEADER.size :]


def binding(header: Header, model: str, version: str, call_id: str) -> bytes:
    """The `info` of the seal: a call that is sent to another model or version, or under another call id, does not open.

    Also the header is part of it, so that none of it can be changed on the way.
    """
    texts = [text.encode() for text in (model, version, call_id)]
    return b"".join([b"airserve sealed call\0", header.raw, *(_TEXT.pack(len(text)) + text for text in texts)])


def pack(inner: Inner) -> bytes:
    """The plaintext of a seal, filled up to its bucket."""
    head = _INNER.pack(inner.sent_ns, inner.secret, inner.salt)
    size = len(head) + len(inner.content)
    return b"".join((head, inner.content, bytes(bucket(size) - size)))


def unpack(plaintext: bytes) -> Inner:
    """What `pack` was given. Raises `UnsealError`."""
    try:
        sent_ns, secret, salt = _INNER.unpack_from(plaintext)
        return Inner(sent_ns, secret, salt, _without_padding(memoryview(plaintext)[_INNER.size :]))
    except (struct.error, msgspec.MsgspecError, UnicodeDecodeError):
        raise UnsealError(FLAT) from None


def commitment(salt: bytes, content: bytes | memoryview) -> bytes:
    """What binds a call to its content without telling it."""
    return hmac.digest(salt, content, "sha256")


def bucket(size: int) -> int:
    """The size to which `size` bytes are filled up: Padmé, at most 12 % more; sizes up to M tell O(log log M) bits.

    Source: Nikitin et al., "Reducing Metadata Leakage from Encrypted Files and Communication", PoPETs 2019, §4.
    """
    if size <= SMALLEST:
        return SMALLEST
    exponent = size.bit_length() - 1
    mask = (1 << (exponent - exponent.bit_length())) - 1
    return (size + mask) & ~mask


def write_content(tensors: Tensors, outputs: Sequence[str] | None = None) -> bytes:
    """Tensors as a content."""
    raws = [to_raw(array) for array in tensors.values()]
    parts = [
        _Part(name, datatype_of(array), array.shape, len(raw))
        for (name, array), raw in zip(tensors.items(), raws, strict=True)
    ]
    head = msgspec.msgpack.encode(Content(parts, None if outputs is None else list(outputs)))
    return b"".join((_LENGTH.pack(len(head)), head, *raws))


def read_content(content: bytes | memoryview) -> tuple[Tensors, list[str] | None]:
    """The tensors, views of `content` (BYTES: object arrays), and the outputs that are asked for.

    Raises `InvalidInputError` for tensors that do not fit, `UnsealError` for what is no content.
    """
    try:
        head, start = _head(memoryview(content))
    except (struct.error, msgspec.MsgspecError, UnicodeDecodeError):
        raise UnsealError(FLAT) from None
    tensors: Tensors = {}
    for part in head.tensors:
        if part.datatype not in NUMPY_OF or part.name in tensors:
            raise InvalidInputError(f"tensor '{part.name[:80]}' has no known datatype, or is given twice")
        raw = memoryview(content)[start : start + max(0, part.size)]
        tensors[part.name] = from_raw(raw, part.datatype, part.shape, part.name[:80])
        start += len(raw)
    return tensors, head.outputs


def fill(content: bytes) -> bytes:
    """A content of a reply, filled up to its bucket."""
    return content + bytes(bucket(len(content)) - len(content))


def _head(content: memoryview) -> tuple[Content, int]:
    (length,) = _LENGTH.unpack_from(content)
    start = _LENGTH.size + length
    return msgspec.msgpack.decode(content[_LENGTH.size : start], type=Content), start


def _without_padding(filled: memoryview) -> memoryview:
    head, start = _head(filled)
    return filled[: start + sum(max(0, part.size) for part in head.tensors)]
