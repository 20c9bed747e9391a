"""Encoded pictures -> pixels. What comes from outside is not trusted: sizes are checked before anything is decoded."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, PngImagePlugin, UnidentifiedImageError

from airserve.core.errors import InvalidInputError

FORMATS = ("JPEG", "PNG", "WEBP")

Pixels = npt.NDArray[np.uint8]

# Compressed text in a PNG can inflate a thousandfold, and nobody reads it here.
PngImagePlugin.MAX_TEXT_CHUNK = 1 << 20
PngImagePlugin.MAX_TEXT_MEMORY = 4 << 20
# What a client sends is the client's to hear of; advice about large or oddly written pictures is noise in our log.
warnings.filterwarnings("ignore", module=r"PIL\.")

_ORIENTATION = 0x0112
# EXIF 2.32 §4.6.4: how the stored picture must be moved to be seen upright.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_RESAMPLE = {name: Image.Resampling[name.upper()] for name in ("nearest", "bilinear", "bicubic", "lanczos")}


def centre(data: bytes, *, size: int, resize: int, resample: str, max_pixels: int) -> Pixels:
    """The picture in `data` scaled so that its shorter side is `resize`, of it the central `size` × `size` pixels.

    RGB, shape [size, size, 3], upright as its EXIF orientation says; of an animation the first frame; transparent
    parts over white. Scaling and cropping are one step, so a picture of one pixel by a million costs no more than
    another. Raises `InvalidInputError` with why it cannot be, for more than `max_pixels` before decoding.
    """
    image = _opened(data, max_pixels)
    try:
        if image.format == "JPEG":
            # The decoder can leave out detail that scaling would; twice the wanted size keeps the result the same.
            image.draft(image.mode, (2 * resize, 2 * resize))
        turn = _UPRIGHT.get(_orientation(image))
        image = _scalable(image)
        width, height = image.size
        side = min(width, height) * size / resize
        box = ((width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2)
        image = image.resize((size, size), _RESAMPLE[resample], box=box)
        if turn is not None:
            image = image.transpose(turn)
        return np.asarray(_rgb(image))
    except Exception as error:  # decoders raise almost anything on damaged data
        raise InvalidInputError(f"the picture is cut off or damaged ({_reason(error)})") from None


def _opened(data: bytes, max_pixels: int) -> Image.Image:
    """The picture with its header read and nothing decoded."""
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError:
        raise InvalidInputError(f"the picture has more than {max_pixels} pixels, the most that is taken") from None
    except UnidentifiedImageError:
        raise InvalidInputError("the data is no JPEG, PNG or WebP picture") from None
    except Exception as error:
        raise InvalidInputError(f"the picture is cut off or damaged ({_reason(error)})") from None
    width, height = image.size
    if width * height > max_pixels:
        raise InvalidInputError(f"the picture has {width} × {height} pixels; {max_pixels} is the most that is taken")
    return image


def _orientation(image: Image.Image) -> Any:
    try:
        return image.getexif().get(_ORIENTATION)
    except Exception:  # broken EXIF does not make the pixels worse
        return None


def _scalable(image: Image.Image) -> Image.Image:
    """`image` decoded, in a mode that can be scaled smoothly; 16-bit greys as 8-bit ones."""
    image.load()
    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        return image.convert("RGBA")
    return image.convert("RGB") if image.mode in ("P", "1") else image


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _reason(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
