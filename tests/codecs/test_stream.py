from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airserve.codecs.error_bound import error_bound
from airserve.codecs.stream import HEADROOM, WINDOW, StreamDecoder, StreamEncoder
from airserve.core.call import Array
from airserve.core.errors import InvalidInputError, MissingReferenceError

LIMIT = 1 << 20
STREAMED = ["fp32+zstd", "fp16+zstd", "bf16+zstd", "int8+zstd", "int8c+ans", "int4c+ans", "int2c+ans", "topk:0.2"]


def sensor(tick: int) -> Array:
    """Smooth and noisy channels, 16 of 64 values; every 40th tick the scene changes."""
    phase = np.arange(64) / 9 + tick / 50 + np.arange(16)[:, None]
    noise = np.random.default_rng(tick).normal(0, 0.003, (16, 64))
    return (np.sin(phase) * (1 + np.arange(16)[:, None]) * (1 + tick // 40) + noise).astype(np.float32)[None]


@given(st.data(), st.sampled_from(STREAMED))
def test_every_frame_that_arrives_decodes_within_the_bound_whatever_is_lost(data: st.DataObject, codec: str) -> None:
    """Frames and acknowledgements are lost at random; a missing reference is answered by a key frame."""
    encoder, decoder = StreamEncoder(codec), StreamDecoder(max_bytes=LIMIT)
    for tick in range(data.draw(st.integers(1, 60))):
        coded = encoder.encode(sensor(tick))
        if data.draw(st.integers(0, 3)) == 0:
            continue
        decoded = decoder.decode(coded.frame)
        assert decoded.head == coded.head
        # A key frame has a wider range, and serves until the range has shrunk to 0.4 of it.
        allowed = error_bound(sensor(tick), codec) * (1 if "int" not in codec else 2.5 * (1 + 2 * HEADROOM))
        assert np.abs(decoded.array - sensor(tick)).max() <= allowed + 1e-6
        if data.draw(st.integers(0, 2)):
            assert decoded.head.key is not None
            encoder.acknowledged(decoded.head.key)


@pytest.mark.parametrize("codec", ["fp32+zstd", "int8c+zstd", "int4c+ans"])
def test_differences_to_acknowledged_frames_are_smaller(codec: str) -> None:
    still = sensor(0)
    encoder = StreamEncoder(codec)
    first = encoder.encode(still)
    assert first.head.reference_key is None
    assert encoder.encode(still).head.reference_key is None
    encoder.acknowledged(2)
    third = encoder.encode(still)
    assert third.head.reference_key == 2
    assert len(third.frame) < len(first.frame) / 5


def test_an_acknowledgement_that_comes_late_does_not_go_back() -> None:
    encoder = StreamEncoder("int8+zstd")
    for _ in range(3):
        encoder.encode(sensor(0))
    encoder.acknowledged(3)
    encoder.acknowledged(1)
    assert encoder.encode(sensor(0)).head.reference_key == 3


def test_a_decoder_that_is_new_asks_for_a_key_frame_and_gets_one() -> None:
    encoder = StreamEncoder("int8+zstd")
    encoder.encode(sensor(0))
    encoder.acknowledged(1)
    resumed = StreamDecoder(max_bytes=LIMIT)
    with pytest.raises(MissingReferenceError, match="send a key frame"):
        resumed.decode(encoder.encode(sensor(1)).frame)
    encoder.ask_key()
    assert resumed.decode(encoder.encode(sensor(2)).frame).head.reference_key is None


def test_a_scene_that_changes_makes_a_key_frame() -> None:
    encoder = StreamEncoder("int8c+zstd")
    encoder.encode(sensor(0))
    encoder.acknowledged(1)
    assert encoder.encode(10 * sensor(0)).head.reference_key is None


def test_both_sides_keep_a_bounded_number_of_frames() -> None:
    encoder, decoder = StreamEncoder("int8+zstd"), StreamDecoder(max_bytes=LIMIT)
    for tick in range(3 * WINDOW):
        decoder.decode(encoder.encode(sensor(tick)).frame)
    assert len(encoder._sent) == len(decoder._held) == WINDOW


def test_keys_start_anew_after_the_last_one() -> None:
    encoder, decoder = StreamEncoder("int8+zstd", first_key=(1 << 32) - 1), StreamDecoder(max_bytes=LIMIT)
    keys = []
    for tick in range(3):
        decoded = decoder.decode(encoder.encode(sensor(tick)).frame)
        assert decoded.head.key is not None
        keys.append(decoded.head.key)
        encoder.acknowledged(decoded.head.key)
    assert keys == [(1 << 32) - 1, 0, 1]
    with pytest.raises(InvalidInputError):
        StreamEncoder("int8", first_key=1 << 32)
