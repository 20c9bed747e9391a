"""Tensors in memory that two processes share: one writes a batch, the other reads it in place.

A segment is an anonymous file in memory (memfd_create(2)): it has no name in any folder, so nothing is left behind
when the last process that has it ends. It is sealed against shrinking, since reading behind the end of a file that
somebody cut would kill the reader.
"""

from __future__ import annotations

import fcntl
import mmap
import os

import msgspec

from airserve.codecs.tensors import from_raw, to_raw
from airserve.core.call import Tensors
from airserve.core.errors import InvalidInputError
from airserve.core.tensor import NUMPY_OF, datatype_of

_ALIGNMENT = 64
_STEP = 1 << 16


class Placed(msgspec.Struct, frozen=True, array_like=True):
    """Where a tensor lies in a segment: raw data of the Open Inference Protocol, `size` bytes from `offset`."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    offset: int
    size: int


class Segment:
    """One direction of the way between two processes; it grows to the largest batch that went through it."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._map: mmap.mmap | None = None

    @classmethod
    def create(cls, name: str) -> Segment:
        """A new, empty segment; `name` is seen in /proc alone."""
        fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
        return cls(fd)

    def write(self, tensors: Tensors) -> list[Placed]:
        """Put `tensors` into the segment, over what was there, and tell where each lies.

        Raises `InvalidInputError` for a dtype that has no Open Inference datatype.
        """
        placed, contents, end = [], [], 0
        for name, array in tensors.items():
            raw = to_raw(array)
            placed.append(Placed(name, datatype_of(array), array.shape, end, len(raw)))
            contents.append(raw)
            end += -(-len(raw) // _ALIGNMENT) * _ALIGNMENT
        if os.fstat(self.fd).st_size < end:
            os.ftruncate(self.fd, -(-end // _STEP) * _STEP)
        memory = self._memory()
        for place, raw in zip(placed, contents, strict=True):
            if place.size:
                memory[place.offset : place.offset + place.size] = raw
        return placed

    def read(self, placed: list[Placed], *, copy: bool) -> Tensors:
        """The tensors at `placed`: copies, or views that the next `write` overwrites (BYTES are always copies).

        Raises `InvalidInputError` for places that do not fit the segment, or data that does not fit a place.
        """
        memory = self._memory()
        tensors = {}
        for place in placed:
            if place.datatype not in NUMPY_OF or not 0 <= place.offset <= place.offset + place.size <= len(memory):
                raise InvalidInputError(
                    f"tensor '{place.name[:80]}' lies outside its segment, or has no known datatype"
                )
            array = from_raw(memory[place.offset : place.offset + place.size], place.datatype, place.shape, place.name)
            tensors[place.name] = array.copy() if copy and place.datatype != "BYTES" else array
        return tensors

    def close(self) -> None:
        """Give the file back; its memory goes with the last process, and the last view, that has it."""
        os.close(self.fd)
        self._map = None

    def _memory(self) -> memoryview:
        """The whole segment, mapped again if it has grown.

        A map that is replaced is not closed, only forgotten: it goes when the last view of it does.
        """
        size = os.fstat(self.fd).st_size
        if not size:
            return memoryview(b"")
        if self._map is None or len(self._map) < size:
            self._map = mmap.mmap(self.fd, size)
        return memoryview(self._map)
