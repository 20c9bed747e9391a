"""The first half of the `[vision]` step: encoded pictures in, the graph's input out."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from airserve.codecs import picture_pixels
from airserve.core.call import Array
from airserve.core.errors import InvalidInputError
from airserve.engines.options import Vision


class Pixels:
    """Decodes, scales, crops and normalises pictures as `vision` says."""

    def __init__(self, vision: Vision) -> None:
        self._vision = vision
        self._mean = np.array(vision.mean, np.float32)
        self._scale = 1 / np.array(vision.std, np.float32)

    def of(self, images: Array) -> Array:
        """Of `images` BYTES [n]: float32, [n, 3, size, size] or [n, size, size, 3] as the model wants it.

        Raises `InvalidInputError` that names the row for what is no picture, or one over `max_pixels`.
        """
        vision = self._vision
        x = np.empty((len(images), vision.size, vision.size, 3), np.float32)
        for row, data in enumerate(images):
            try:
                x[row] = picture_pixels.centre(
                    data,
                    size=vision.size,
                    resize=vision.resize,
                    resample=vision.resample,
                    max_pixels=vision.max_pixels,
                )
            except InvalidInputError as error:
                raise InvalidInputError(f"row {row} of input 'image': {error.message}") from None
        x -= self._mean
        x *= self._scale
        return x if vision.layout == "NHWC" else np.ascontiguousarray(x.transpose(0, 3, 1, 2))

    def example(self, rows: int) -> Array:
        """BYTES [rows]: a JPEG with something to see in it, of a size that needs scaling."""
        edge = np.linspace(0, 255, self._vision.resize * 3 // 2, dtype=np.uint8)
        red, green = np.meshgrid(edge, edge)
        encoded = io.BytesIO()
        Image.fromarray(np.dstack([red, green, red ^ green])).save(encoded, "JPEG", quality=90)
        image = np.empty(rows, dtype=object)
        image[:] = [encoded.getvalue()] * rows
        return image
