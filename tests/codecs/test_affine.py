from __future__ import annotations

import numpy as np
import pytest

from airserve.codecs import affine
from airserve.core.errors import BadFrameError
from tests.codecs.tensors_for_tests import feature_map


def squared_error(rows: affine.Floats, scales: affine.Scales) -> float:
    return float(((affine.restore(affine.quantise(rows, scales), scales, rows.dtype) - rows) ** 2).mean())


@pytest.mark.parametrize("bits", [2, 4])
def test_clipping_few_large_values_costs_less_than_keeping_them(bits: int) -> None:
    rows = np.random.default_rng(0).laplace(0, 1, (1, 20_000)).astype(np.float32)
    clipped = affine.fit(rows, bits)
    assert clipped is not None
    levels = (1 << bits) - 1
    span = rows.max() - rows.min()
    whole = affine.Scales(rows.min(axis=1), np.array([span / levels], np.float32), levels)
    assert squared_error(rows, clipped) < 0.5 * squared_error(rows, whole)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_zeros_of_a_rectified_map_stay_zeros(bits: int) -> None:
    rows = affine.rows_of(feature_map(), 1)
    scales = affine.fit(rows, bits)
    assert scales is not None
    assert not scales.lo.any()
    assert not affine.restore(affine.quantise(rows, scales), scales, rows.dtype)[rows == 0].any()


def test_a_scale_a_channel_is_more_exact_than_one_for_all() -> None:
    errors = []
    for axis in (None, 1):
        rows = affine.rows_of(feature_map(), axis)
        scales = affine.fit(rows, 4)
        assert scales is not None
        errors.append(squared_error(rows, scales))
    assert errors[1] < 0.3 * errors[0]


def test_a_narrow_band_far_from_zero_is_not_clipped_from_zero() -> None:
    rows = np.linspace(1000, 1001, 500, dtype=np.float32).reshape(1, -1)
    for bits in (2, 4, 8):
        scales = affine.fit(rows, bits)
        assert scales is not None
        assert affine.bound(rows, scales) < 0.6 / ((1 << bits) - 1)


def test_scales_take_two_bytes_where_that_is_exact_enough() -> None:
    scales = affine.fit(affine.rows_of(feature_map(), 1), 8)
    assert scales is not None
    assert len(scales.pack()) == 1 + 2 * 48
    back = affine.unpack_scales(scales.pack(), 48, 8)
    assert np.array_equal(back.scale, scales.scale)
    small = affine.fit(np.float32(1e-7) * affine.rows_of(feature_map(), 1), 8)
    assert small is not None
    assert len(small.pack()) == 1 + 4 * 48


def test_channels_are_the_second_axis_or_the_last_of_two() -> None:
    assert affine.channel_axis((2, 3, 40), True) == 1
    assert affine.channel_axis((40, 3), True) == 1
    assert affine.channel_axis((40,), True) is None
    assert affine.channel_axis((1, 384), True) is None
    assert affine.channel_axis((2, 3, 40), False) is None


@pytest.mark.parametrize("values", [[np.nan], [np.inf], [-1.0]])
def test_scales_that_make_no_sense_are_refused(values: list[float]) -> None:
    with pytest.raises(BadFrameError, match="not finite, or negative"):
        affine.unpack_scales(b"\2" + np.array(values, "<f4").tobytes(), 1, 8)
    with pytest.raises(BadFrameError, match="5 bytes"):
        affine.unpack_scales(b"\2" + bytes(4), 2, 8)
    with pytest.raises(BadFrameError):
        affine.unpack_scales(b"", 1, 8)
