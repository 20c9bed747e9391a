"""Pictures made small for the link: what a model does not look at is left out, and the rest is WebP or JPEG."""

from __future__ import annotations

import io

from airserve.codecs.codec import Codec, parse
from airserve.codecs.optional import optional
from airserve.core.errors import InvalidInputError

MAX_PIXELS = 50_000_000
"""The most pixels that are decoded, unless said: as many as a model takes."""

_METHOD = 4
"""How hard WebP searches, 0 to 6: above 4 a few per cent fewer bytes for twice the time."""


_GREY = 128


def recode(
    data: bytes,
    *,
    resize: int,
    codec: Codec | str,
    size: int | None = None,
    max_pixels: int = MAX_PIXELS,
    resample: str = "bicubic",
) -> bytes:
    """The picture in `data` (JPEG, PNG or WebP) as a square of `resize` × `resize` pixels, as WebP or JPEG.

    The shorter side is scaled to `resize` and the central square is kept, as models look at pictures; RGB, upright as
    its EXIF orientation says, without metadata. A model that looks at the central `size` × `size` pixels alone finds
    those as they were: what is around them is grey, which takes next to no bytes. `codec` says format and quality, as
    in `webp:60`; `resample` is that of the model. Raises `InvalidInputError` for what is no picture, or for more than
    `max_pixels`, before decoding.
    """
    codec = parse(codec) if isinstance(codec, str) else codec
    if not codec.is_picture:
        raise InvalidInputError(f"codec '{codec}' is for tensors; a picture takes one like webp:60 or jpeg:85")
    if resize < 1:
        raise InvalidInputError(f"a picture is resized to 1 pixel or more, not to {resize}")
    image = optional("PIL.Image", "coding of pictures")
    from airserve.codecs.picture_pixels import centre

    # A border of whole pixels: where the model would cut pixels in two, one row and column more is kept.
    seen = resize if size is None or size >= resize else size + (resize - size) % 2
    pixels = centre(data, size=seen, resize=resize, resample=resample, max_pixels=max_pixels)
    file = io.BytesIO()
    picture = image.new("RGB", (resize, resize), (_GREY, _GREY, _GREY))
    picture.paste(image.fromarray(pixels), ((resize - seen) // 2, (resize - seen) // 2))
    if codec.lossy == "webp":
        picture.save(file, "WEBP", quality=codec.quality, method=_METHOD)
    else:
        picture.save(file, "JPEG", quality=codec.quality, optimize=True)
    return file.getvalue()
