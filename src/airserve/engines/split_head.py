"""The head of a split model: pictures or tensors in, the features out that its tail takes."""

from __future__ import annotations

from airserve.core.call import Tensors
from airserve.core.errors import BadPackageError
from airserve.core.tensor import Signature
from airserve.engines.base import Model
from airserve.engines.onnx import OnnxModel
from airserve.engines.options import Source, Vision
from airserve.engines.session import Session


class VisionHead:
    """A head behind the first half of the `[vision]` step: `image` BYTES [n] -> the features of its graph."""

    def __init__(self, session: Session, signature: Signature, vision: Vision) -> None:
        from airserve.engines.pixels import Pixels

        if len(session.inputs) != 1:
            raise BadPackageError(f"a [vision] head takes one tensor, this one {', '.join(session.inputs)}")
        self.signature = signature
        self._session = session
        self._pixels = Pixels(vision)
        (self._input,) = session.inputs
        self._outputs = [spec.name for spec in signature.outputs]

    def run(self, inputs: Tensors) -> Tensors:
        """Raises `InvalidInputError` that names the row for what is no picture."""
        return self._session.run({self._input: self._pixels.of(inputs["image"])}, self._outputs)

    def example(self, rows: int) -> Tensors:
        """Pictures with something to see in them."""
        return {"image": self._pixels.example(rows)}

    def close(self) -> None:
        """Free the session."""
        self._session.close()


def load_head(source: Source, *, threads: int) -> Model:
    """The graph of a head, ready to run."""
    session = Session(source.contents.read(source.file), threads=threads, name=source.file)
    if missing := [spec.name for spec in source.signature.outputs if spec.name not in session.outputs]:
        raise BadPackageError(f"the head gives no {', '.join(missing)}; it gives {', '.join(session.outputs)}")
    if source.vision is not None:
        return VisionHead(session, source.signature, source.vision)
    return OnnxModel(session, source.signature)
