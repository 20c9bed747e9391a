"""The `[vision]` step: encoded pictures in, labels with probabilities out; and its second half behind a tail."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from airserve.core.call import Tensors
from airserve.core.errors import BadPackageError
from airserve.core.tensor import Signature, zeros
from airserve.engines.labels import Labels
from airserve.engines.options import Vision
from airserve.engines.pixels import Pixels
from airserve.engines.session import Session

_AXES = 4


class VisionModel:
    """A classifier behind the step.

    `image` BYTES [n] -> `label` BYTES [n, k], `probability` FP32 [n, k] and `index` INT32 [n, k], best first. Decoding
    happens here, on the worker's thread; Pillow releases the GIL for it. A graph of another fixed size than that of the
    step gets the same part of the picture, scaled to its own: a variant may look at fewer pixels.
    """

    def __init__(self, session: Session, signature: Signature, vision: Vision, labels: tuple[str, ...]) -> None:
        if len(session.inputs) != 1:
            raise BadPackageError(f"a [vision] model takes one tensor, this one {', '.join(session.inputs)}")
        self.signature = signature
        self._session = session
        ((self._input, taken),) = session.inputs.items()
        (self._output, shape), *_ = session.outputs.items()
        self._pixels = Pixels(_at_size_of(vision, taken))
        self._labels = Labels(vision, labels, shape)

    def run(self, inputs: Tensors) -> Tensors:
        """Raises `InvalidInputError` that names the row for what is no picture, or one over `max_pixels`."""
        x = self._pixels.of(inputs["image"])
        return self._labels.best(self._session.run({self._input: x}, [self._output])[self._output])

    def example(self, rows: int) -> Tensors:
        """A JPEG with something to see in it, of a size that needs scaling."""
        return {"image": self._pixels.example(rows)}

    def close(self) -> None:
        """Free the session."""
        self._session.close()


def _at_size_of(vision: Vision, shape: Sequence[int | None]) -> Vision:
    """The step for a graph that takes pictures of this shape."""
    size = shape[-1 if vision.layout == "NCHW" else -2] if len(shape) == _AXES else None
    if size is None or size == vision.size:
        return vision
    return msgspec.structs.replace(vision, size=size, resize=round(vision.resize * size / vision.size))


class VisionTail:
    """The tail of a split classifier: features in, and the same answer as the whole gives of the picture."""

    def __init__(self, session: Session, signature: Signature, vision: Vision, labels: tuple[str, ...]) -> None:
        self.signature = signature
        self._session = session
        (self._output, shape), *_ = session.outputs.items()
        self._labels = Labels(vision, labels, shape)

    def run(self, inputs: Tensors) -> Tensors:
        """`label`, `probability` and `index`, as `VisionModel` gives them."""
        return self._labels.best(self._session.run(inputs, [self._output])[self._output])

    def example(self, rows: int) -> Tensors:
        """Zeros."""
        return zeros(self.signature, rows)

    def close(self) -> None:
        """Free the session."""
        self._session.close()
