"""Entropy coding of small integers: asymmetric numeral systems (ANS) with static histograms, one for each context.

    payload   = mode(1) ‖ classes(1) ‖ class of each row (1 each, where there are several)
                ‖ which histograms follow (a bit each) ‖ histograms ‖ words (4 each)
    histogram = the share of each symbol in units of 2⁻¹², as varints

mode 0: the context of a symbol is the class of its row; mode 1: also the places around it (`contexts`). A class is a
set of rows (channels) that are about as full: a map of features has nearly empty channels beside full ones, and one
histogram for both would serve neither. Source of ANS: Duda, arXiv:1311.2540; the coder is `constriction`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from airserve.codecs.contexts import has_contexts, passes, table_count
from airserve.codecs.optional import optional
from airserve.codecs.packing import Bytes
from airserve.codecs.varints import read_varint, write_varint
from airserve.core.errors import BadFrameError

_UNIT = 1 << 12
_MOST_CLASSES = 8
_PARTS = (1, 2, 8)
"""How many of the finest classes are put together; all of them is one class."""
_ROW_VALUES = 32
"""A row of fewer values is not worth the byte that names its class."""

Ints = npt.NDArray[np.int64]
Pass = tuple[Bytes, Bytes]
"""The symbols of one pass, and the histogram of each, both [rows, places]."""


def encode_symbols(symbols: Bytes, bits: int, grid: tuple[int, int]) -> bytes:
    """`symbols`, [rows, values] of `bits` bits, which are maps of `grid` in a row-major order, as a payload.

    Modes and classes are those that make it smallest.
    """
    stream = _stream()
    mode, classes, coded, counts = _smallest(symbols, bits, grid)
    number = int(classes.max()) + 1
    shares = _shares(counts)
    coder = stream.stack.AnsCoder()
    # A stack: what is put on it last comes off first.
    for values, ids in reversed(coded):
        order = np.argsort(ids.reshape(-1), kind="stable")
        ordered = values.reshape(-1)[order].astype(np.int32)
        ends = np.cumsum(np.bincount(ids.reshape(-1), minlength=len(shares)))
        for each in reversed(range(len(shares))):
            start = ends[each - 1] if each else 0
            if start < ends[each]:
                coder.encode_reverse(ordered[start : ends[each]], _model(stream, shares[each]))
    head = bytes([mode, number]) + (classes.tobytes() if number > 1 else b"")
    used = counts.any(axis=1)
    histograms = b"".join(write_varint(share) for share in shares[used].reshape(-1).tolist())
    words: bytes = coder.get_compressed().astype("<u4").tobytes()
    return head + np.packbits(used).tobytes() + histograms + words


def decode_symbols(payload: bytes | memoryview, rows: int, values: int, bits: int, grid: tuple[int, int]) -> Bytes:
    """The symbols, [rows, values]. Raises `BadFrameError`."""
    mode, classes, shares, start = _read_head(memoryview(payload), rows, bits, grid)
    if (len(payload) - start) % 4:
        raise BadFrameError("the frame's entropy-coded words are cut off")
    stream = _stream()
    symbols = np.zeros((rows, values), np.uint8)
    try:
        decoder = stream.stack.AnsCoder(np.frombuffer(payload, "<u4", offset=start).astype(np.uint32))
        if mode == 0:
            symbols[:] = _decode_pass(stream, decoder, shares, np.repeat(classes[:, None], values, axis=1))
        else:
            maps, each = _maps(symbols, classes, grid)
            number = np.uint8(len(shares) // table_count(bits))
            for views, ids in passes(maps, bits):
                found = _decode_pass(stream, decoder, shares, ids * number + each[:, None])
                place = 0
                for view in views:
                    size = view.shape[1] * view.shape[2]
                    view[:] = found[:, place : place + size].reshape(view.shape)
                    place += size
        empty = decoder.is_empty()
    except (ValueError, AssertionError) as error:
        raise BadFrameError(f"the frame's entropy-coded data is damaged: {error}") from None
    if not empty:
        raise BadFrameError("the frame's entropy-coded data is followed by more")
    return symbols


def _stream() -> Any:
    return optional("constriction", "codec ans").stream


def _tables(mode: int, bits: int) -> int:
    """The histograms of one class."""
    return table_count(bits) if mode else 1


def _smallest(symbols: Bytes, bits: int, grid: tuple[int, int]) -> tuple[int, Bytes, list[Pass], Ints]:
    """Mode, the class of each row, passes and counts, of the choice that comes to the fewest bytes."""
    rows, values = symbols.shape
    several = values >= _ROW_VALUES and rows >= 2 * _MOST_CLASSES
    rank = np.argsort(np.argsort(symbols.sum(axis=1, dtype=np.int64), kind="stable"), kind="stable")
    finest = (rank * (_MOST_CLASSES if several else 1) // rows).astype(np.uint8)
    coded = _passes(symbols, finest, bits, grid)
    mode, number = int(has_contexts(bits, grid)), _MOST_CLASSES if several else 1
    counts = _counts(coded, _tables(mode, bits) * number, 1 << bits).reshape(-1, number, 1 << bits)
    choices = []
    # Classes of fewer are unions of those, and a mode without contexts is a union too: counting once serves all.
    for part in (each for each in _PARTS if several or each == 1):
        merged = counts.reshape(len(counts), number // part, part, -1).sum(axis=2)
        choices += [(1, part, merged)] * mode + [(0, part, merged.sum(axis=0, keepdims=True))]
    mode, part, merged = min(choices, key=lambda choice: _cost(choice[2], rows))
    classes, number = finest // np.uint8(part), number // part
    coded = _passes(symbols, classes, bits, grid if mode else (1, 1))
    return mode, classes, coded, merged.reshape(-1, 1 << bits)


def _passes(symbols: Bytes, classes: Bytes, bits: int, grid: tuple[int, int]) -> list[Pass]:
    """The passes over `symbols`, and the histogram of each: those of the first context first, one a class."""
    if not has_contexts(bits, grid):
        return [(symbols, np.repeat(classes[:, None], symbols.shape[1], axis=1))]
    maps, each = _maps(symbols, classes, grid)
    number = np.uint8(classes.max() + 1)
    return [
        (np.concatenate([view.reshape(len(maps), -1) for view in views], axis=1), ids * number + each[:, None])
        for views, ids in passes(maps, bits)
    ]


def _maps(symbols: Bytes, classes: Bytes, grid: tuple[int, int]) -> tuple[Bytes, Bytes]:
    """`symbols` as maps, [rows · batch, height, width], a view; and the class of each map."""
    maps = symbols.reshape(-1, *grid)
    return maps, np.repeat(classes, len(maps) // len(symbols))


def _counts(coded: list[Pass], tables: int, alphabet: int) -> Ints:
    """How often each symbol is in each context, [tables, alphabet]."""
    total = np.zeros(tables * alphabet, np.int64)
    for values, ids in coded:
        total += np.bincount(
            (ids.astype(np.uint16) * np.uint16(alphabet) + values).reshape(-1), minlength=tables * alphabet
        )
    return total.reshape(tables, alphabet)


def _cost(counts: Ints, rows: int) -> float:
    """The bytes that these counts, [contexts, classes, alphabet], come to, with histograms and classes."""
    named = rows if counts.shape[1] > 1 else 0
    counts = counts.reshape(-1, counts.shape[2])
    filled = counts[counts > 0]
    sums = counts.sum(axis=1)
    sums = sums[sums > 0]
    coded = (float((sums * np.log2(sums)).sum()) - float((filled * np.log2(filled)).sum())) / 8
    return named + coded + 0.5 * len(filled) + counts.shape[1] * len(sums) + len(counts) / 8


def _shares(counts: Ints) -> Ints:
    """Counts as shares of `_UNIT`; a symbol that occurs has one."""
    scaled = np.rint(counts * (_UNIT / np.maximum(1, counts.sum(axis=1, keepdims=True)))).astype(np.int64)
    return np.where(counts > 0, np.maximum(scaled, 1), 0)


def _model(stream: Any, shares: Ints) -> Any:
    # Integers this small are exact in float32, so both sides build the same model.
    return stream.model.Categorical(shares.astype(np.float32), perfect=False)


def _decode_pass(stream: Any, decoder: Any, shares: Ints, ids: Bytes) -> Bytes:
    """The symbols of one pass, [rows, places] as the contexts."""
    flat = ids.reshape(-1)
    counts = np.bincount(flat, minlength=len(shares))
    if (counts.astype(bool) & ~shares.any(axis=1)).any():
        raise BadFrameError("the frame lacks a histogram that its data asks for")
    ordered = [decoder.decode(_model(stream, shares[each]), int(counts[each])) for each in np.flatnonzero(counts)]
    found = np.empty(flat.size, np.uint8)
    if ordered:
        found[np.argsort(flat, kind="stable")] = np.concatenate(ordered)
    return found.reshape(ids.shape)


def _read_head(payload: memoryview, rows: int, bits: int, grid: tuple[int, int]) -> tuple[int, Bytes, Ints, int]:
    """Mode, the class of each row, the histograms, and where the words start."""
    mode, number = (payload[0], payload[1]) if len(payload) > 1 else (2, 0)
    start = 2 + (rows if number > 1 else 0)
    if mode > has_contexts(bits, grid) or number not in range(1, _MOST_CLASSES + 1) or len(payload) < start:
        raise BadFrameError("the frame's histograms are cut off or malformed")
    classes = np.frombuffer(payload, np.uint8, rows, offset=2) if number > 1 else np.zeros(rows, np.uint8)
    tables, alphabet = _tables(mode, bits) * number, 1 << bits
    flags = np.unpackbits(np.frombuffer(payload[start : start + (tables + 7) // 8], np.uint8))[:tables]
    if classes.max(initial=0) >= number or len(flags) < tables:
        raise BadFrameError("the frame's histograms are cut off or malformed")
    start += (tables + 7) // 8
    shares = np.zeros((tables, alphabet), np.int64)
    for each in np.flatnonzero(flags):
        for symbol in range(alphabet):
            shares[each, symbol], start = read_varint(payload, start, _UNIT)
    return mode, classes, shares, start
