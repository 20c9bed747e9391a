"""The `[vision]` step: encoded pictures in, labels with probabilities out."""

from __future__ import annotations

import io
import math

import numpy as np
from PIL import Image

from airserve.core.call import Array, Tensors
from airserve.core.errors import BadPackageError, InvalidInputError
from airserve.core.tensor import Signature
from airserve.engines import pictures
from airserve.engines.options import Vision
from airserve.engines.session import Session


class VisionModel:
    """A classifier behind the step.

    `image` BYTES [n] -> `label` BYTES [n, k], `probability` FP32 [n, k] and `index` INT32 [n, k], best first. Decoding
    happens here, on the worker's thread; Pillow releases the GIL for it.
    """

    def __init__(self, session: Session, signature: Signature, vision: Vision, labels: tuple[str, ...]) -> None:
        if len(session.inputs) != 1:
            raise BadPackageError(f"a [vision] model takes one tensor, this one {', '.join(session.inputs)}")
        self.signature = signature
        self._session = session
        self._vision = vision
        (self._input,) = session.inputs
        (self._output, shape), *_ = session.outputs.items()
        classes = math.prod(axis or 1 for axis in shape[1:])
        if labels and len(labels) != classes:
            raise BadPackageError(f"the model tells {classes} classes apart, but the package has {len(labels)} labels")
        self._k = min(vision.top_k, classes)
        self._labels = np.empty(classes, dtype=object)
        self._labels[:] = [label.encode() for label in labels] or [b"%d" % index for index in range(classes)]
        self._mean = np.array(vision.mean, np.float32)
        self._scale = 1 / np.array(vision.std, np.float32)

    def run(self, inputs: Tensors) -> Tensors:
        """Raises `InvalidInputError` that names the row for what is no picture, or one over `max_pixels`."""
        x = self._pixels(inputs["image"])
        scores = self._session.run({self._input: x}, [self._output])[self._output].reshape(len(x), -1)
        probabilities = _softmax(scores) if self._vision.logits else scores
        index = np.argsort(-probabilities, axis=1, kind="stable")[:, : self._k]
        return {
            "label": self._labels[index],
            "probability": np.take_along_axis(probabilities, index, axis=1).astype(np.float32),
            "index": index.astype(np.int32),
        }

    def example(self, rows: int) -> Tensors:
        """A JPEG with something to see in it, of a size that needs scaling."""
        edge = np.linspace(0, 255, self._vision.resize * 3 // 2, dtype=np.uint8)
        red, green = np.meshgrid(edge, edge)
        encoded = io.BytesIO()
        Image.fromarray(np.dstack([red, green, red ^ green])).save(encoded, "JPEG", quality=90)
        image = np.empty(rows, dtype=object)
        image[:] = [encoded.getvalue()] * rows
        return {"image": image}

    def close(self) -> None:
        """Free the session."""
        self._session.close()

    def _pixels(self, images: Array) -> Array:
        """Normalised float32, [n, 3, size, size] or [n, size, size, 3] as the model wants it."""
        vision = self._vision
        x = np.empty((len(images), vision.size, vision.size, 3), np.float32)
        for row, data in enumerate(images):
            try:
                x[row] = pictures.centre(
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


def _softmax(scores: Array) -> Array:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))
