"""What the serving process and the process of a model say to each other, and the channel that carries it.

Each message is a uint32 length (little-endian) and that many bytes of MessagePack. Tensors go beside it, in shared
memory. Nothing is ever pickled: the two sides do not trust each other.
"""

from __future__ import annotations

import socket
import struct
import time
from contextlib import suppress
from typing import Literal, TypeVar

import msgspec

from airserve.engines.shared_tensors import Placed

_LENGTH = struct.Struct("<I")
_MAX_BYTES = 1 << 24


class Load(msgspec.Struct, frozen=True, tag=True):
    """The first request: load `attribute` of `file` in `folder`, within `memory_bytes` of address space."""

    folder: str
    file: str
    attribute: str
    memory_bytes: int | None


class Run(msgspec.Struct, frozen=True, tag=True):
    """Predict the batch that lies at `tensors`."""

    tensors: list[Placed]


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The model is loaded."""


class Done(msgspec.Struct, frozen=True, tag=True):
    """The answer lies at `tensors`."""

    tensors: list[Placed]


class Failed(msgspec.Struct, frozen=True, tag=True):
    """There is no answer: the code `raised` (`text` is the exception's type), it `refused` the input with a sentence of
    its own, or it `answered` something that is no answer.
    """

    how: Literal["raised", "refused", "answered"]
    text: str


Request = Load | Run
Answer = Ready | Done | Failed
_M = TypeVar("_M")


class Channel:
    """One end of a stream socket, used by one thread at a time."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end

    def send(self, message: msgspec.Struct) -> None:
        """Raises `OSError` when the other side has gone."""
        body = msgspec.msgpack.encode(message)
        self._socket.sendall(_LENGTH.pack(len(body)) + body)

    def receive(self, kind: type[_M], timeout_s: float | None = None) -> _M:
        """The next message. Raises `EOFError` when the other side has gone, `TimeoutError` after `timeout_s`, and
        `ValueError` for what is no message of this `kind`.
        """
        end = None if timeout_s is None else time.monotonic() + timeout_s
        (length,) = _LENGTH.unpack(self._read(_LENGTH.size, end))
        if length > _MAX_BYTES:
            raise ValueError(f"a message of {length} bytes")
        return msgspec.msgpack.decode(self._read(length, end), type=kind)

    def hang_up(self) -> None:
        """End the conversation, from any thread: both sides read its end."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close()

    def _read(self, size: int, end: float | None) -> bytes:
        data = b""
        while len(data) < size:
            self._socket.settimeout(None if end is None else max(0.001, end - time.monotonic()))
            part = self._socket.recv(size - len(data))
            if not part:
                raise EOFError
            data += part
        return data
