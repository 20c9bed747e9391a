"""ONNX graphs: tensors in, tensors out; with a `[vision]` or `[text]` step before them, pictures or strings in."""

from __future__ import annotations

import numpy as np

from airserve.core.call import Array, Tensors
from airserve.core.errors import InvalidInputError
from airserve.core.tensor import Signature, zeros
from airserve.engines.base import Model
from airserve.engines.options import Source
from airserve.engines.session import Session


class OnnxModel:
    """A graph served as it is."""

    def __init__(self, session: Session, signature: Signature) -> None:
        self.signature = signature
        self._session = session
        self._outputs = [spec.name for spec in signature.outputs]
        self._strings = [spec.name for spec in signature.inputs if spec.datatype == "BYTES"]

    def run(self, inputs: Tensors) -> Tensors:
        """All outputs of the graph, by name. Raises `ModelFailedError` with the runtime's first line."""
        for name in self._strings:
            inputs = {**inputs, name: _as_text(inputs[name], name)}
        return self._session.run(inputs, self._outputs)

    def example(self, rows: int) -> Tensors:
        """Zeros, and empty strings."""
        return zeros(self.signature, rows)

    def close(self) -> None:
        """Free the session."""
        self._session.close()


def load(source: Source, *, threads: int) -> Model:
    """The graph of a package behind the step that its manifest asks for, ready to run."""
    session = Session(source.contents.read(source.file), threads=threads, name=source.file)
    # Pillow and tokenizers are loaded only where a package needs them.
    if source.vision is not None:
        from airserve.engines.vision import VisionModel, VisionTail

        # The pictures of a tail became features on the device: what is left of the step is its second half.
        kind = VisionTail if source.tail else VisionModel
        return kind(session, source.signature, source.vision, source.labels)
    if source.text is not None:
        from airserve.engines.text import TextModel

        return TextModel(session, source.signature, source.text, source.contents.read(source.text.tokenizer))
    return OnnxModel(session, source.signature)


def _as_text(array: Array, name: str) -> Array:
    """ONNX strings are UTF-8 text; a BYTES element that is not is the client's error."""
    try:
        flat = [item.decode() if isinstance(item, bytes) else item for item in array.ravel()]
    except UnicodeDecodeError:
        raise InvalidInputError(f"input '{name}' of this model takes text; an element is not valid UTF-8") from None
    text = np.empty(array.size, dtype=object)
    text[:] = flat
    return text.reshape(array.shape)
