"""Pictures to labels as the client sees it, without any I/O. The model's package has a `[vision]` section."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from airserve.core.call import Tensors
from airserve.core.errors import AirserveError, InvalidInputError

Labels = list[tuple[str, float]]
"""Labels with their probabilities, the best first."""

OUTPUTS = ("label", "probability")


def picture_inputs(image: bytes | str | Path) -> Tensors:
    """The inputs of one picture: encoded bytes, or the path of a JPEG, PNG or WebP file."""
    # Made by hand: NumPy's own type for bytes would cut zeros off at their end.
    array = np.empty(1, dtype=object)
    array[0] = image if isinstance(image, bytes) else _read(Path(image))
    return {"image": array}


def parse_labels(outputs: Tensors, k: int | None) -> Labels:
    """The best `k` labels, or as many as the model gives."""
    try:
        pairs = zip(outputs["label"][0], outputs["probability"][0], strict=True)
        return [(label.decode(), float(probability)) for label, probability in pairs][:k]
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        raise AirserveError("the answer holds no labels; does this model take pictures?") from None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidInputError(f"the picture {path} cannot be read: {error.strerror}") from None
