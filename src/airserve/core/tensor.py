"""Tensor datatypes and specifications, in the names of the Open Inference Protocol v2.

Source: Open Inference Protocol, specification/protocol/inference_rest.md, "Tensor Data Types".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from airserve.core.errors import InvalidInputError

NUMPY_OF: dict[str, np.dtype[np.generic]] = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "BYTES": np.dtype("O"),
}
_NAME_OF = {dtype: name for name, dtype in NUMPY_OF.items()}

MAX_ELEMENTS = 1 << 31
"""More elements than this in one tensor are refused before anything is allocated."""

MAX_RANK = 64
"""NumPy's own bound; a product of more sizes would be as expensive as its client likes."""


def datatype_of(array: npt.NDArray[np.generic]) -> str:
    """The protocol's name of an array's dtype; strings of any kind are BYTES."""
    if array.dtype.kind in "OSU":
        return "BYTES"
    name = _NAME_OF.get(array.dtype.newbyteorder("<") if array.dtype.itemsize > 1 else array.dtype)
    if name is None:
        raise InvalidInputError(f"dtype {array.dtype} has no Open Inference datatype; use one of {', '.join(NUMPY_OF)}")
    return name


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of a model: `shape` holds -1 where the size is free, the first axis being the batch."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """The NumPy dtype, little-endian; object for BYTES."""
        return NUMPY_OF[self.datatype]

    def accepts(self, shape: Sequence[int]) -> bool:
        """Whether `shape` fits: the same rank, and the same size wherever this one is fixed."""
        return len(shape) == len(self.shape) and all(
            want in (-1, got) for want, got in zip(self.shape, shape, strict=True)
        )


@dataclass(frozen=True, slots=True)
class Signature:
    """What a model takes and gives. `max_batch` is the most rows of one run; 0 says that it does not batch."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    max_batch: int = 0


def element_count(shape: Sequence[int], name: str) -> int:
    """The number of elements of `shape`; refuses negative sizes and counts beyond `MAX_ELEMENTS`.

    An axis of size 0 hides no overflow of the others, since NumPy refuses such shapes too.
    """
    if len(shape) > MAX_RANK:
        raise InvalidInputError(f"input '{name[:80]}' has a shape of {len(shape)} axes; at most {MAX_RANK} are taken")
    if min(shape, default=0) < 0:
        raise InvalidInputError(
            f"input '{name[:80]}' has a negative size in its shape {_short(shape)}; sizes are 0 or more"
        )
    extent = math.prod(shape) or math.prod(size or 1 for size in shape)
    if extent > MAX_ELEMENTS:
        raise InvalidInputError(
            f"shape {_short(shape)} of input '{name[:80]}' causes total element count "
            f"to exceed maximum size of {MAX_ELEMENTS}"
        )
    return 0 if 0 in shape else extent


def _short(shape: Sequence[int]) -> str:
    text = str(list(shape))
    return text if len(text) <= 120 else text[:117] + "..."


def zeros(signature: Signature, rows: int) -> dict[str, npt.NDArray[np.generic]]:
    """Zeros (empty strings for BYTES) of a signature's inputs: `rows` on a free first axis, 1 on other free axes."""
    return {spec.name: _zeros(spec, rows) for spec in signature.inputs}


def _zeros(spec: TensorSpec, rows: int) -> npt.NDArray[np.generic]:
    shape = [1 if size == -1 else size for size in spec.shape]
    if shape and spec.shape[0] == -1:
        shape[0] = rows
    return np.full(shape, b"", dtype=object) if spec.datatype == "BYTES" else np.zeros(shape, spec.dtype)
