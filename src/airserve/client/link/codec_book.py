"""How small codecs make tensors and how long they take for it: said by the service, then seen here."""

from __future__ import annotations

from typing import TypeVar

from airserve.client.link.plan import RAW

Key = TypeVar("Key")
_WEIGHT = 0.25
_BITS = {"fp16": 16, "bf16": 16, "int8": 8, "int8c": 8, "int4": 4, "int4c": 4, "int2c": 2}
# Seconds a byte of the tensor, before any was timed here; the slower stage of a codec counts.
_SECONDS_A_BYTE = {"zstd": 8e-9, "lz4": 4e-9, "shuffle": 4e-9, "ans": 3e-8, "webp": 6e-8, "jpeg": 4e-8, "topk": 2e-8}
_LOSSY_SECONDS_A_BYTE = 4e-9
_FIXED_S = 1e-4
_PICTURE_S = 6e-3


class CodecBook:
    """Sizes by (model, tensor, codec) a row, times by codec a byte; exponentially weighted means."""

    def __init__(self) -> None:
        self._bytes_a_row: dict[tuple[str, str, str], float] = {}
        self._seconds_a_byte: dict[str, float] = {}

    def size(self, key: tuple[str, str, str], rows: int, raw_bytes: int, said_a_row: float | None) -> float:
        """Bytes of a tensor of `raw_bytes` in `rows` rows after the codec `key[2]`."""
        codec = key[2]
        if codec == RAW:
            return raw_bytes
        known = self._bytes_a_row.get(key, said_a_row)
        if known is not None:
            return known * rows
        lossy = codec.partition("+")[0].partition(":")[0]
        return raw_bytes * _BITS.get(lossy, 32) / 32

    def seconds(self, codec: str, raw_bytes: int) -> float:
        """Encoding a tensor of `raw_bytes`; the service's decoding is counted with the service."""
        if codec == RAW:
            return 0.0
        if (known := self._seconds_a_byte.get(codec)) is not None:
            return known * raw_bytes
        lossy, _, lossless = codec.partition("+")
        lossy = lossy.partition(":")[0]
        a_byte = max(_SECONDS_A_BYTE.get(lossless, 0.0), _SECONDS_A_BYTE.get(lossy, _LOSSY_SECONDS_A_BYTE))
        return (_PICTURE_S if lossy in ("webp", "jpeg") else _FIXED_S) + a_byte * raw_bytes

    def learn(self, key: tuple[str, str, str], rows: int, raw_bytes: int, coded_bytes: int, seconds: float) -> None:
        """A tensor was coded."""
        _mix(self._bytes_a_row, key, coded_bytes / max(rows, 1))
        _mix(self._seconds_a_byte, key[2], seconds / max(raw_bytes, 1))


def _mix(into: dict[Key, float], key: Key, value: float) -> None:
    into[key] = value if key not in into else into[key] + _WEIGHT * (value - into[key])
