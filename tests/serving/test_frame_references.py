"""Frames of streams, kept for differences to them."""

from __future__ import annotations

import numpy as np
import pytest

from airserve.codecs.frame import Decoded, decode_frame
from airserve.codecs.stream import WINDOW, StreamEncoder
from airserve.core.errors import MissingReferenceError
from airserve.protocols.open_inference.coded import Coded, open_frames
from airserve.serving.frame_references import FrameReferences

SECOND = 1_000_000_000


def coded(encoder: StreamEncoder, array: np.ndarray) -> Coded:
    made = encoder.encode(array)
    return Coded("x", made.head, made.frame)


def decoded(encoder: StreamEncoder, array: np.ndarray) -> Decoded:
    return decode_frame(encoder.encode(array).frame, max_bytes=1 << 20)


def test_a_difference_opens_in_its_own_stream_of_its_own_tenant_alone() -> None:
    references = FrameReferences(1 << 20, 60 * SECOND)
    encoder = StreamEncoder("int8+zstd")
    first = np.linspace(0, 1, 4096, dtype=np.float32).reshape(1, 4096)
    open_frames([coded(encoder, first)], references.of("a", "s"))
    encoder.acknowledged(1)
    second = coded(encoder, first * np.float32(0.99))
    assert second.head.reference_key == 1
    for other in (None, references.of("b", "s"), references.of("a", "t")):
        with pytest.raises(MissingReferenceError):
            open_frames([second], other)
    opened = open_frames([second], references.of("a", "s"))["x"]
    assert np.abs(opened - first * np.float32(0.99)).max() < 0.01


def test_a_stream_holds_its_last_frames_alone() -> None:
    references = FrameReferences(64 << 20, 60 * SECOND)
    stream, encoder = references.of("a", "s"), StreamEncoder("int8")
    for step in range(3 * WINDOW):
        frame = decoded(encoder, np.full((1, 64), step, np.float32))
        assert frame.reference is not None
        stream.put("x", frame.reference)
    kept = [key for key in range(1, 3 * WINDOW + 1) if stream.get("x", key) is not None]
    assert kept == list(range(2 * WINDOW + 1, 3 * WINDOW + 1))
    assert stream.get("y", kept[-1]) is None


def test_a_silent_stream_ends() -> None:
    references = FrameReferences(1 << 20, SECOND)
    stream = references.of("a", "s")
    frame = decoded(StreamEncoder("int8"), np.zeros((1, 64), np.float32))
    assert frame.reference is not None
    stream.put("x", frame.reference)
    assert stream.get("x", 1) is frame.reference
    references.forget_expired(1 << 62)
    assert stream.get("x", 1) is None
