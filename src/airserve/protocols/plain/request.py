"""A plain request: bytes -> tensors, checked against the model's signature."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from airserve.codecs.compression import inflate
from airserve.core.call import Array, Tensors
from airserve.core.errors import InvalidInputError, UnsupportedEncodingError
from airserve.core.tensor import Signature, TensorSpec, datatype_of
from airserve.models.manifest import Manifest
from airserve.protocols.open_inference.checks import check_input, count_rows
from airserve.protocols.plain.arrays import in_dtype
from airserve.protocols.plain.media import Form, accepted, form_of
from airserve.protocols.plain.npy import read_npy
from airserve.protocols.plain.rows import rows_from_json


@dataclass(frozen=True, slots=True)
class PlainRequest:
    """What the client asks for. `alone`: one row was sent as such, so one is the answer; `reply` is its form."""

    inputs: Tensors
    rows: int
    alone: bool
    reply: Form


def decode(
    manifest: Manifest, headers: Mapping[bytes, bytes], body: bytes | memoryview, *, max_bytes: int
) -> PlainRequest:
    """The request in `body`; a compressed body may inflate to `max_bytes`.

    Raises `InvalidInputError`, `UnsupportedEncodingError` for what the model does not take, and `NotAcceptableError`.
    """
    reply = accepted(headers.get(b"accept", b""))
    coding = headers.get(b"content-encoding")
    if coding is not None:
        body = inflate(body, coding.decode("latin-1"), max_bytes)
    signature = manifest.signature
    takes_text = manifest.text is not None
    form = form_of(headers.get(b"content-type", b""), body, takes_text=takes_text)
    inputs = _inputs(manifest, form, body)
    alone = []
    for spec in signature.inputs:
        inputs[spec.name], row = _with_batch_axis(inputs[spec.name], spec, signature)
        check_input(manifest.name, spec, datatype_of(inputs[spec.name]), inputs[spec.name].shape)
        alone.append(row)
    rows = count_rows(manifest.name, signature, [array.shape for array in inputs.values()])
    return PlainRequest(inputs, rows, all(alone), reply)


def _inputs(manifest: Manifest, form: Form, body: bytes | memoryview) -> Tensors:
    signature = manifest.signature
    if form is Form.JSON:
        return rows_from_json(body, signature, manifest.columns)
    if form is Form.NPY:
        spec = _only(manifest, "an .npy file")
        return {spec.name: in_dtype(read_npy(body), spec)}
    if form is Form.PICTURE:
        return {_bytes_input(manifest, "pictures", manifest.text is None): _one(bytes(body))}
    try:
        bytes(body).decode()
    except UnicodeDecodeError:
        raise InvalidInputError("the text is not valid UTF-8") from None
    return {_bytes_input(manifest, "text", manifest.vision is None): _one(bytes(body))}


def _only(manifest: Manifest, what: str) -> TensorSpec:
    inputs = manifest.signature.inputs
    if len(inputs) != 1:
        names = ", ".join(spec.name for spec in inputs)
        raise UnsupportedEncodingError(f"{what} is one input, and '{manifest.name}' has {names}; send JSON rows")
    return inputs[0]


def _bytes_input(manifest: Manifest, what: str, fits: bool) -> str:
    """The name of the input that takes one string of bytes a row."""
    inputs = manifest.signature.inputs
    if fits and len(inputs) == 1 and inputs[0].datatype == "BYTES" and inputs[0].shape[1:] in ((), (1,)):
        return inputs[0].name
    raise UnsupportedEncodingError(f"model '{manifest.name}' takes no {what}; {hint(manifest)}")


def hint(manifest: Manifest) -> str:
    """What to send to the model, as half a sentence."""
    if manifest.vision is not None and manifest.split is None:
        return "send it a picture: curl --data-binary @FILE"
    if manifest.text is not None:
        return "send it text/plain, or a JSON list of texts"
    return "send it JSON rows or an .npy file"


def _one(data: bytes) -> Array:
    """One element; it stands for a row, so it has no axis."""
    array = np.empty((), dtype=object)
    array[()] = data
    return array


def _with_batch_axis(array: Array, spec: TensorSpec, signature: Signature) -> tuple[Array, bool]:
    """`array` with its first axis, and whether that was added: one row alone has none."""
    row = len(spec.shape) - (1 if signature.max_batch else 0)
    if array.dtype == object and array.ndim == 0:
        array = array.reshape((1,) * row)
    if signature.max_batch and array.ndim == row:
        return array[None], True
    return array, False
