from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from airserve.codecs.picture_pixels import centre
from airserve.codecs.pictures import recode
from airserve.core.errors import InvalidInputError

SIZE = 48


def scene(width: int, height: int) -> Image.Image:
    """Red grows to the right, green downwards."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, np.full_like(x, 60)], axis=2).astype(np.uint8))


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)  # type: ignore[arg-type]
    return file.getvalue()


@pytest.mark.parametrize(("codec", "kind"), [("webp:80", "WEBP"), ("jpeg:90", "JPEG")])
def test_the_central_square_is_kept_and_the_shorter_side_scaled(codec: str, kind: str) -> None:
    data = recode(saved(scene(300, 100)), resize=SIZE, codec=codec)
    picture = Image.open(io.BytesIO(data))
    assert (picture.format, picture.size, picture.mode) == (kind, (SIZE, SIZE), "RGB")
    expected = np.asarray(scene(300, 100).crop((100, 0, 200, 100)).resize((SIZE, SIZE)))
    assert np.abs(np.asarray(picture).astype(int) - expected).mean() < 6
    assert len(data) < 2000


def test_a_picture_is_turned_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = recode(saved(scene(80, 80), "JPEG", quality=95, exif=exif), resize=SIZE, codec="jpeg:95")
    picture = Image.open(io.BytesIO(turned))
    assert not picture.getexif()
    # Turned by 90° clockwise, green grows to the left and red downwards.
    pixels = np.asarray(picture).astype(int)
    assert pixels[5, 5, 1] > 200 > 60 > pixels[5, -5, 1]
    assert pixels[-5, 5, 0] > 200 > 60 > pixels[5, 5, 0]


@pytest.mark.parametrize("size", [192, 193])
def test_what_a_model_cuts_off_is_grey_and_the_rest_as_it_was(size: int) -> None:
    noisy = Image.fromarray(np.random.default_rng(0).integers(0, 256, (256, 400, 3)).astype(np.uint8))
    whole, part = (recode(saved(noisy), resize=256, size=each, codec="jpeg:100") for each in (None, size))
    assert len(part) < 0.7 * len(whole)
    options = {"size": size, "resize": 256, "resample": "bilinear", "max_pixels": 1 << 20}
    looked_at = [centre(each, **options).astype(int) for each in (whole, part)]  # type: ignore[arg-type]
    # Colours are stored at half the resolution, so those of the outermost pixels are mixed with the grey.
    assert np.abs(looked_at[0] - looked_at[1])[2:-2, 2:-2].max() <= 3
    assert np.asarray(Image.open(io.BytesIO(part)))[:30].std() < 2


def test_a_lower_quality_takes_fewer_bytes() -> None:
    noisy = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8))
    sizes = [len(recode(saved(noisy), resize=64, codec=f"webp:{quality}")) for quality in (90, 50, 10)]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize(
    ("data", "codec", "resize", "says"),
    [
        (b"no picture", "webp:60", 8, "is no JPEG, PNG or WebP"),
        (saved(scene(40, 40))[:100], "webp:60", 8, "cut off or damaged"),
        (saved(scene(40, 40)), "int8+zstd", 8, "a picture takes one like webp:60"),
        (saved(scene(40, 40)), "webp:60", 0, "1 pixel or more"),
    ],
)
def test_what_cannot_be_recoded_is_refused_in_words(data: bytes, codec: str, resize: int, says: str) -> None:
    with pytest.raises(InvalidInputError, match=says):
        recode(data, resize=resize, codec=codec)


def test_a_picture_of_too_many_pixels_is_refused_before_decoding() -> None:
    with pytest.raises(InvalidInputError, match="1599 is the most"):
        recode(saved(scene(40, 40)), resize=8, codec="webp:60", max_pixels=1599)
