"""What a GGUF file says of itself, read with every length checked against the file: it comes from outside.

Source: "GGUF" specification, version 3 (ggml, docs/gguf.md); sizes of the quantised blocks: ggml-common.h.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from airserve.core.errors import BadPackageError

Value = int | float | bool | str

_MAGIC = b"GGUF"
_SCALARS = {
    0: struct.Struct("<B"), 1: struct.Struct("<b"), 2: struct.Struct("<H"), 3: struct.Struct("<h"),
    4: struct.Struct("<I"), 5: struct.Struct("<i"), 6: struct.Struct("<f"), 7: struct.Struct("<?"),
    10: struct.Struct("<Q"), 11: struct.Struct("<q"), 12: struct.Struct("<d"),
}  # fmt: skip
_STRING, _ARRAY = 8, 9
_U32, _U64 = _SCALARS[4], _SCALARS[10]

# Of each type of tensor: how many elements a block holds, and its bytes.
_BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 36),
    10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292), 16: (256, 66),
    17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82), 23: (256, 136),
    24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2), 34: (256, 54),
    35: (256, 66), 39: (32, 17),
}  # fmt: skip

_MAX_ENTRIES = 1 << 16
_MAX_TENSORS = 1 << 17
_MAX_NAME = 1 << 16
_MAX_KEPT_TEXT = 1 << 20
_MAX_AXES = 4


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """`metadata` has every scalar and text by its key; lists are left out. `parameters` counts the weights."""

    metadata: dict[str, Value]
    parameters: int

    def text(self, key: str) -> str:
        """The text under `key`; empty where there is none."""
        value = self.metadata.get(key)
        return value if isinstance(value, str) else ""

    def number(self, key: str) -> int:
        """The whole number under `key`; 0 where there is none."""
        value = self.metadata.get(key)
        return value if isinstance(value, int) else 0

    @property
    def architecture(self) -> str:
        """Such as 'llama'; keys that belong to it begin with this name."""
        return self.text("general.architecture")


def read_header(path: Path) -> GgufHeader:
    """The header of a whole GGUF file of version 2 or 3. Raises `BadPackageError` where it is damaged or cut off."""
    with path.open("rb") as file:
        return _Reader(file, path.name, path.stat().st_size).header()


class _Reader:
    """Reads on from where it stands, never past the end of the file."""

    def __init__(self, file: BinaryIO, name: str, size: int) -> None:
        self._file = file
        self._name = name
        self._size = size

    def header(self) -> GgufHeader:
        if self._size < 24 or self._file.read(4) != _MAGIC:
            raise BadPackageError(f"{self._name} is no GGUF file")
        version = self._integer(_U32)
        if version not in (2, 3):
            raise BadPackageError(
                f"{self._name} is GGUF of version {version} or for another byte order; convert it to version 3, "
                "little-endian"
            )
        tensors, entries = self._integer(_U64), self._integer(_U64)
        if tensors > _MAX_TENSORS or entries > _MAX_ENTRIES:
            raise self._damaged("it claims more tensors or metadata than any model has")
        metadata: dict[str, Value] = {}
        for _ in range(entries):
            key = self._text(_MAX_NAME) or ""
            value = self._value(self._integer(_U32))
            if value is not None:
                metadata[key] = value
        return GgufHeader(metadata, self._tensors(tensors, metadata.get("general.alignment", 32)))

    def _tensors(self, count: int, alignment: Value) -> int:
        """Check that all tensors lie within the file; the number of their elements."""
        if not isinstance(alignment, int) or not 8 <= alignment <= 1 << 20 or alignment % 8:
            raise self._damaged(f"alignment {alignment}")
        parameters = end = 0
        for _ in range(count):
            self._text(_MAX_NAME)
            axes = self._integer(_U32)
            if axes > _MAX_AXES:
                raise self._damaged(f"a tensor with {axes} axes")
            elements = math.prod(self._integer(_U64) for _ in range(axes))
            kind, offset = self._integer(_U32), self._integer(_U64)
            parameters += elements
            # A type that came after this was written: its offset at least lies within the file.
            block, block_bytes = _BLOCKS.get(kind, (elements or 1, 1))
            end = max(end, offset + elements // block * block_bytes)
        start = -(-self._file.tell() // alignment) * alignment
        if start + end > self._size:
            raise self._damaged(f"it ends {start + end - self._size} bytes too early")
        return parameters

    def _value(self, kind: int) -> Value | None:
        """The value that comes next; None for one that is not kept."""
        if kind == _STRING:
            return self._text(_MAX_KEPT_TEXT)
        if kind == _ARRAY:
            self._skip_array()
            return None
        if kind not in _SCALARS:
            raise self._damaged(f"metadata of the unknown type {kind}")
        scalar = _SCALARS[kind]
        value: Value = scalar.unpack(self._bytes(scalar.size))[0]
        return value

    def _skip_array(self) -> None:
        kind, length = self._integer(_U32), self._integer(_U64)
        if kind == _STRING:
            if length * _U64.size > self._rest:
                raise self._cut_off()
            for _ in range(length):
                self._skip(self._integer(_U64))
        elif kind in _SCALARS:
            self._skip(length * _SCALARS[kind].size)
        else:
            raise self._damaged(f"a list of the type {kind}")

    def _text(self, most: int) -> str | None:
        """The text that comes next; None where it is longer than `most` bytes."""
        length = self._integer(_U64)
        if length > most:
            self._skip(length)
            return None
        try:
            return self._bytes(length).decode()
        except UnicodeDecodeError:
            raise self._damaged("a text is not UTF-8") from None

    def _integer(self, scalar: struct.Struct) -> int:
        value: int = scalar.unpack(self._bytes(scalar.size))[0]
        return value

    def _bytes(self, count: int) -> bytes:
        if count > self._rest:
            raise self._cut_off()
        data = self._file.read(count)
        if len(data) != count:
            raise self._cut_off()
        return data

    def _skip(self, count: int) -> None:
        if count > self._rest:
            raise self._cut_off()
        self._file.seek(count, 1)

    @property
    def _rest(self) -> int:
        return self._size - self._file.tell()

    def _cut_off(self) -> BadPackageError:
        return self._damaged("it ends in the middle of its header")

    def _damaged(self, what: str) -> BadPackageError:
        return BadPackageError(f"{self._name} is damaged or was not copied whole: {what}; get it again")
