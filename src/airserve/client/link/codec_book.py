"""How small codecs make tensors and how long they take for it: said by the service, then seen here."""

from __future__ import annotations

from airserve.client.link.plan import RAW

_WEIGHT = 0.25
_BITS = {"fp16": 16, "bf16": 16, "int8": 8, "int8c": 8, "int4": 4, "int4c": 4, "int2c": 2}
# Seconds a byte of the tensor, before any was timed here; the slower stage of a codec counts.
_SECONDS_A_BYTE = {"zstd": 8e-9, "lz4": 4e-9, "shuffle": 4e-9, "ans": 3e-8, "webp": 2e-8, "jpeg": 2e-8, "topk": 2e-8}
_LOSSY_SECONDS_A_BYTE = 4e-9
_FIXED_S = 1e-4
_PICTURE_S = {"webp": 7e-3, "jpeg": 2e-3}
_MOST_AT_ONCE = 3.0


class CodecBook:
    """Sizes by (model, tensor, codec) a row, and how much slower than usual codecs are here; weighted means."""

    def __init__(self) -> None:
        self._bytes_a_row: dict[tuple[str, str, str], float] = {}
        self._slower: dict[str, float] = {}
        self._slower_all = 1.0

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
        factor = self._slower.get(codec, self._slower_all)
        return factor * usual_s(codec, raw_bytes)

    def learn(self, key: tuple[str, str, str], rows: int, raw_bytes: int, coded_bytes: int, seconds: float) -> None:
        """A tensor was coded."""
        known = self._bytes_a_row.get(key)
        a_row = coded_bytes / max(rows, 1)
        self._bytes_a_row[key] = a_row if known is None else known + _WEIGHT * (a_row - known)
        factor = self._slower.get(key[2], self._slower_all)
        # The first use of a codec loads it, and a busy device stops now and then: no time alone counts for much.
        seen = min(seconds / usual_s(key[2], raw_bytes), _MOST_AT_ONCE * factor)
        self._slower[key[2]] = factor + _WEIGHT * (seen - factor)
        self._slower_all += _WEIGHT / 4 * (seen - factor)


def usual_s(codec: str, raw_bytes: int) -> float:
    """What encoding takes on a machine as the figures above were taken on."""
    lossy, _, lossless = codec.partition("+")
    lossy = lossy.partition(":")[0]
    a_byte = max(_SECONDS_A_BYTE.get(lossless, 0.0), _SECONDS_A_BYTE.get(lossy, _LOSSY_SECONDS_A_BYTE))
    return _PICTURE_S.get(lossy, _FIXED_S) + a_byte * raw_bytes
