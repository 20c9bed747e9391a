"""A camera that pans over a picture: frames for any model that takes pictures or tensors of pictures."""

from __future__ import annotations

import importlib.util
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from airserve.core.call import Array
from airserve.core.errors import InvalidInputError
from airserve.core.tensor import NUMPY_OF

if TYPE_CHECKING:
    from PIL.Image import Image

_SHIPPED = (("sklearn", "datasets/images"), ("skimage", "data"))
_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
_MOST_PICTURES = 8
_PERIOD_S = 12.0
_PICTURE_SIDE = 320
_DIGITS, _DIGIT_SIDE = "3141592653", 256
_FULL_TONE = 16.0
"""Grey values of tensors of one channel run from 0 to 16, as in the set of digits that the demo model learnt from."""


def frames(specs: Sequence[Mapping[str, Any]], folder: Path | None, rate: float) -> Iterator[dict[str, Array]]:
    """Inputs for a model with these `specs` (of its metadata), one a frame, without end.

    Pictures are those in `folder`, else what installed packages ship; for tensors without colours, digits are drawn.
    Raises `InvalidInputError` for a model whose input is no picture.
    """
    if len(specs) != 1:
        raise InvalidInputError("a camera fills one input; this model has several")
    name, datatype, shape = str(specs[0]["name"]), str(specs[0]["datatype"]), [int(each) for each in specs[0]["shape"]]
    sizes = None if datatype == "BYTES" else _height_width_channels(shape)
    grey = sizes is not None and sizes[2] == 1
    scenes = [_digits()] if grey and folder is None else _pictures(folder)
    number = 0
    while True:
        view = _view(scenes, number / rate, whole=grey and folder is None)
        number += 1
        if sizes is None:
            yield {name: _jpeg(view)}
        else:
            yield {name: _tensor(view, sizes, shape, datatype)}


def _height_width_channels(shape: Sequence[int]) -> tuple[int, int, int]:
    """Of a tensor [rows, values], [rows, channels, height, width] or [rows, height, width, channels]."""
    sizes = [each for each in shape[1:] if each > 0]
    if len(sizes) == 1 and math.isqrt(sizes[0]) ** 2 == sizes[0]:
        return math.isqrt(sizes[0]), math.isqrt(sizes[0]), 1
    if len(sizes) == 2:
        return sizes[0], sizes[1], 1
    if len(sizes) == 3 and sizes[0] in (1, 3):
        return sizes[1], sizes[2], sizes[0]
    if len(sizes) == 3 and sizes[2] in (1, 3):
        return sizes[0], sizes[1], sizes[2]
    raise InvalidInputError(f"an input of shape {list(shape)} is no picture that a camera could fill")


def _pictures(folder: Path | None) -> list[Image]:
    image = _pillow()
    folders = [folder] if folder is not None else [path for name, below in _SHIPPED if (path := _inside(name, below))]
    files = [file for each in folders for file in sorted(each.iterdir()) if file.suffix.lower() in _SUFFIXES]
    if folder is not None and not files:
        raise InvalidInputError(f"{folder} holds no picture; JPEG, PNG and WebP are read")
    found = []
    for file in files[:_MOST_PICTURES]:
        try:
            found.append(image.open(file).convert("RGB"))
        except OSError as error:
            raise InvalidInputError(f"the picture {file} cannot be read: {error}") from None
    return found or [_digits()]


def _inside(package: str, below: str) -> Path | None:
    spec = importlib.util.find_spec(package)
    places = [] if spec is None else [Path(each) / below for each in spec.submodule_search_locations or ()]
    return next((each for each in places if each.is_dir()), None)


def _digits() -> Image:
    """White digits side by side on black, each a square."""
    image = _pillow()
    from PIL import ImageDraw, ImageFont

    scene: Image = image.new("RGB", (_DIGIT_SIDE * len(_DIGITS), _DIGIT_SIDE))
    draw, font = ImageDraw.Draw(scene), ImageFont.load_default(size=_DIGIT_SIDE)
    for place, digit in enumerate(_DIGITS):
        draw.text(((place + 0.5) * _DIGIT_SIDE, _DIGIT_SIDE / 2), digit, "white", font, anchor="mm", stroke_width=6)
    return scene


def _view(scenes: Sequence[Image], seconds: float, *, whole: bool) -> Image:
    """What the camera sees: it pans to and fro over one picture, then over the next. `whole` squares, of the height."""
    turn, part = divmod(seconds / _PERIOD_S, 1.0)
    scene = scenes[int(turn) % len(scenes)]
    width, height = scene.size
    side = height if whole else int(0.7 * min(width, height))
    along = 0.5 - 0.5 * math.cos(2 * math.pi * part)
    left, top = int(along * (width - side)), int(along * (height - side))
    return scene.crop((left, top, left + side, top + side))


def _jpeg(view: Image) -> Array:
    buffer = io.BytesIO()
    view.resize((_PICTURE_SIDE, _PICTURE_SIDE)).save(buffer, "JPEG", quality=85)
    return np.array([[buffer.getvalue()]], dtype=object)


def _tensor(view: Image, sizes: tuple[int, int, int], shape: Sequence[int], datatype: str) -> Array:
    height, width, channels = sizes
    small = view.resize((width, height), _pillow().Resampling.BOX)
    if channels == 1:
        values = np.asarray(small.convert("L"), np.float32) / 255 * _FULL_TONE
    else:
        values = np.asarray(small, np.float32) / 255
        if len(shape) == 4 and shape[1] == channels:
            values = values.transpose(2, 0, 1)
    return np.ascontiguousarray(values, dtype=NUMPY_OF[datatype]).reshape(1, *[abs(each) for each in shape[1:]])


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError:
        raise InvalidInputError("the demonstration needs Pillow: pip install 'airserve[device]'") from None
    return Image
