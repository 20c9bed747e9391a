from __future__ import annotations

import io
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from airserve.codecs.picture_pixels import Pixels, centre
from airserve.core.errors import InvalidInputError

FORMATS = ("JPEG", "PNG", "WEBP")
MODES = {
    "JPEG": ("RGB", "L", "CMYK"),
    "PNG": ("RGB", "L", "RGBA", "LA", "P", "1", "I;16"),
    "WEBP": ("RGB", "RGBA"),
}


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **({"lossless": True} if kind == "WEBP" else {"quality": 95} | options))
    return file.getvalue()


def see(data: bytes, size: int = 8, resize: int = 8, max_pixels: int = 1_000_000) -> Pixels:
    return centre(data, size=size, resize=resize, resample="bilinear", max_pixels=max_pixels)


def noise(width: int = 40, height: int = 30) -> Image.Image:
    rng = np.random.default_rng(5)
    return Image.fromarray(rng.integers(0, 255, (height, width, 3), np.uint8))


@given(
    st.sampled_from([(kind, mode) for kind in FORMATS for mode in MODES[kind]]),
    st.integers(1, 50),
    st.integers(1, 50),
    st.integers(0, 255),
)
def test_a_picture_of_one_grey_is_that_grey_in_every_mode_format_and_size(
    kind_and_mode: tuple[str, str], width: int, height: int, grey: int
) -> None:
    kind, mode = kind_and_mode
    image = Image.new("RGB", (width, height), (grey, grey, grey))
    if mode == "1":
        grey = 255 * (grey > 127)
        image = Image.new("1", (width, height), grey)
    elif mode == "I;16":
        image = Image.fromarray(np.full((height, width), grey * 257, np.uint16))
    elif mode == "P":
        image = image.quantize(2)
    elif mode != "RGB":
        image = image.convert(mode)
    pixels = see(encode(image, kind))
    assert pixels.shape == (8, 8, 3) and pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - grey).max() <= 4


def test_transparent_parts_lie_over_white() -> None:
    assert (see(encode(Image.new("RGBA", (9, 9), (255, 0, 0, 0)), "PNG")) == 255).all()
    palette = Image.new("P", (9, 9), 3)
    palette.putpalette([0] * 768)
    assert (see(encode(palette, "PNG", transparency=3)) == 255).all()


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
@pytest.mark.parametrize(
    ("orientation", "stored_as"),
    [
        (2, Image.Transpose.FLIP_LEFT_RIGHT),
        (3, Image.Transpose.ROTATE_180),
        (4, Image.Transpose.FLIP_TOP_BOTTOM),
        (5, Image.Transpose.TRANSPOSE),
        (6, Image.Transpose.ROTATE_90),
        (7, Image.Transpose.TRANSVERSE),
        (8, Image.Transpose.ROTATE_270),
    ],
)
def test_a_picture_stored_sideways_is_seen_upright(kind: str, orientation: int, stored_as: Image.Transpose) -> None:
    upright = noise()
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    upright.transpose(stored_as).save(file, kind, exif=exif, lossless=True)
    seen, wanted = see(file.getvalue(), 20, 24).astype(int), see(encode(upright, kind), 20, 24)
    # Rows are scaled before columns, so a picture on its side may round the other way.
    assert np.abs(seen - wanted).max() <= 1


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_broken_exif_does_not_matter() -> None:
    file = io.BytesIO()
    noise().save(file, "PNG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff")
    np.testing.assert_array_equal(see(file.getvalue()), see(encode(noise(), "PNG")))


def test_the_shorter_side_is_scaled_and_the_centre_cut_out() -> None:
    pixels = np.zeros((100, 300, 3), np.uint8)
    pixels[:, 90:210] = (10, 20, 30)
    assert (see(encode(Image.fromarray(pixels), "PNG"), 10, 10) == (10, 20, 30)).all()


def test_leaving_out_detail_of_a_large_jpeg_changes_next_to_nothing() -> None:
    coarse = np.random.default_rng(1).integers(0, 255, (12, 16, 3), np.uint8)
    large = Image.fromarray(coarse).resize((1600, 1200), Image.Resampling.BICUBIC)
    fast, exact = (see(encode(large, kind), 64, 72, 10**7).astype(int) for kind in ("JPEG", "PNG"))
    assert np.abs(fast - exact).mean() < 1.5


@pytest.mark.parametrize("kind", FORMATS)
def test_too_many_pixels_are_refused(kind: str) -> None:
    data = encode(Image.new("RGB", (100, 99)), kind)
    see(data, max_pixels=9900)
    with pytest.raises(InvalidInputError, match=r"100 × 99 pixels; 9899"):
        see(data, max_pixels=9899)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_bomb_is_refused_by_its_header_alone(kind: str) -> None:
    header = encode(Image.new("RGB", (3000, 3000)), kind)[:700]
    with pytest.raises(InvalidInputError, match="3000 × 3000 pixels"):
        see(header, max_pixels=1_000_000)


def test_a_bomb_beyond_pillows_own_bound_is_refused_in_the_same_words() -> None:
    ihdr = b"IHDR" + (60_000).to_bytes(4, "big") * 2 + b"\x08\x02\x00\x00\x00"
    chunk = len(ihdr[4:]).to_bytes(4, "big") + ihdr + zlib.crc32(ihdr).to_bytes(4, "big")
    end = (4).to_bytes(4, "big") + b"IDAT" + b"\x00" * 8
    with pytest.raises(InvalidInputError, match="pixels"):
        see(b"\x89PNG\r\n\x1a\n" + chunk + end)


def test_text_that_inflates_without_end_is_refused() -> None:
    text = PngInfo()
    text.add_text("comment", "0" * 50_000_000, zip=True)
    file = io.BytesIO()
    noise().save(file, "PNG", pnginfo=text)
    assert len(file.getvalue()) < 100_000
    with pytest.raises(InvalidInputError, match="too large"):
        see(file.getvalue())


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_of_an_animation_the_first_frame_counts(kind: str) -> None:
    frames = [Image.new("RGB", (9, 9), colour) for colour in ("red", "lime", "blue")]
    file = io.BytesIO()
    frames[0].save(file, kind, save_all=True, append_images=frames[1:], lossless=True)
    assert (see(file.getvalue()) == (255, 0, 0)).all()


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "PPM"])
def test_other_formats_are_refused(kind: str) -> None:
    file = io.BytesIO()
    noise().save(file, kind)
    with pytest.raises(InvalidInputError, match="no JPEG, PNG or WebP"):
        see(file.getvalue())


@pytest.mark.parametrize("kind", FORMATS)
def test_half_a_picture_is_refused(kind: str) -> None:
    data = encode(noise(200, 200), kind)
    with pytest.raises(InvalidInputError, match=r"cut off or damaged|no JPEG"):
        see(data[: len(data) // 2])


@given(
    st.binary(max_size=200),
    st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\x00\x01\x00\x00WEBPVP8X"]),
)
def test_what_is_no_picture_is_refused_and_nothing_else_happens(data: bytes, start: bytes) -> None:
    with pytest.raises(InvalidInputError):
        see(start + data)


@given(st.sampled_from(FORMATS), st.integers(0, 10**6), st.binary(min_size=1, max_size=4))
def test_damaged_bytes_give_a_picture_or_a_refusal(kind: str, place: int, damage: bytes) -> None:
    data = bytearray(encode(noise(), kind))
    place %= len(data)
    data[place : place + len(damage)] = damage
    try:
        assert see(bytes(data)).shape == (8, 8, 3)
    except InvalidInputError as error:
        assert "/" not in error.message
