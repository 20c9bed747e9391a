"""A reply in the form that the client accepts: JSON, text for people and pipes, or an .npy file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import numpy as np

from airserve.codecs.tensors import as_bytes
from airserve.core.call import Array, Reply
from airserve.core.errors import NotAcceptableError
from airserve.models.manifest import Manifest
from airserve.protocols.encoded import Encoded
from airserve.protocols.plain.media import Form
from airserve.protocols.plain.npy import write_npy
from airserve.protocols.plain.request import PlainRequest

_encode_json = msgspec.json.Encoder().encode


def encode(
    manifest: Manifest, request: PlainRequest, reply: Reply, headers: Iterable[tuple[bytes, bytes]] = ()
) -> Encoded:
    """The response. A row is an object of its outputs, or of a [vision] model a list of labels with probabilities.

    One row that was sent alone is answered alone. Raises `NotAcceptableError` where .npy is wanted and no output is
    of numbers.
    """
    media = request.reply.value
    if request.reply is Form.NPY:
        body = _npy(request, reply)
    elif request.reply is Form.TEXT:
        body, media = _text(manifest, request, reply), f"{media}; charset=utf-8"
    else:
        # NaN and infinities become null: plain JSON has no number for them.
        body = _encode_json(_answer(manifest, request, reply))
    return Encoded(200, [(b"content-type", media.encode()), *headers], [body])


def _answer(manifest: Manifest, request: PlainRequest, reply: Reply) -> Any:
    rows = _rows(manifest, request, reply)
    if rows is None:
        return {name: _readable(array) for name, array in reply.outputs.items()}
    answers: list[Any] = rows
    if manifest.vision is not None:
        answers = [
            [{"label": label, "probability": probability} for label, probability in _ranked(row)] for row in rows
        ]
    return answers[0] if request.alone else answers


def _text(manifest: Manifest, request: PlainRequest, reply: Reply) -> bytes:
    """A line a row, outputs apart by tabs, values by spaces; of a [vision] model a line a label."""
    rows = _rows(manifest, request, reply)
    if rows is None:
        lines = [f"{name}\t{_line(_readable(array))}" for name, array in reply.outputs.items()]
    elif manifest.vision is not None:
        lines = [f"{probability:.4f}\t{label}" for row in rows for label, probability in _ranked(row)]
    else:
        lines = ["\t".join(map(_line, row.values())) for row in rows]
    return "".join(f"{line}\n" for line in lines).encode()


def _npy(request: PlainRequest, reply: Reply) -> bytes:
    """The first output of fractions, else the first of numbers."""
    numeric = [array for array in reply.outputs.values() if array.dtype.kind in "biuf"]
    if not numeric:
        raise NotAcceptableError("this model gives texts, which an .npy file does not carry; accept application/json")
    array = next((array for array in numeric if array.dtype.kind == "f"), numeric[0])
    return write_npy(array[0] if request.alone else array)


def _rows(manifest: Manifest, request: PlainRequest, reply: Reply) -> list[dict[str, Any]] | None:
    """An object of outputs for each row; None for a model that does not answer by rows."""
    if not manifest.max_batch or any(array.shape[:1] != (request.rows,) for array in reply.outputs.values()):
        return None
    outputs = {name: _readable(array) for name, array in reply.outputs.items()}
    return [dict(zip(outputs, values, strict=True)) for values in zip(*outputs.values(), strict=True)]


def _ranked(row: dict[str, Any]) -> Iterator[tuple[str, float]]:
    return zip(row["label"], row["probability"], strict=True)


def _readable(array: Array) -> Any:
    if array.dtype.kind in "OSU":
        texts = np.empty(array.size, dtype=object)
        texts[:] = [as_bytes(element).decode("utf-8", "replace") for element in array.ravel()]
        return texts.reshape(array.shape).tolist()
    return array.tolist()


def _line(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(_line, value))
    return f"{value:.7g}" if isinstance(value, float) else str(value)
