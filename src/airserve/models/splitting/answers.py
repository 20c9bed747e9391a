"""What a graph answers to many rows, in the form in which answers are compared."""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from airserve.core.call import Tensors
from airserve.engines.session import Session
from airserve.models.codec_accuracy import agreement
from airserve.models.manifest import Manifest

_ROWS = 8


class Answers:
    """A graph with the outputs of the model in `manifest`, loaded to be compared with the whole."""

    def __init__(self, graph: onnx.ModelProto, manifest: Manifest) -> None:
        self._session = Session(graph.SerializeToString(), threads=1, name=manifest.name)
        self._outputs = list(self._session.outputs)
        self._manifest = manifest

    def to(self, inputs: Tensors) -> list[Tensors]:
        """The answers in batches, run a few rows at a time: the features of all would not fit into memory."""
        rows = len(next(iter(inputs.values())))
        return [
            self._answer({name: array[at : at + _ROWS] for name, array in inputs.items()})
            for at in range(0, rows, _ROWS)
        ]

    def compared(self, inputs: Tensors, exact: Sequence[Tensors]) -> tuple[str, float]:
        """The metric, and how far the answers to `inputs` agree with `exact`, 1.0 where they are the same."""
        return agreement(self._manifest, self.to(inputs), exact)

    def close(self) -> None:
        """Free the graph."""
        self._session.close()

    def _answer(self, inputs: Tensors) -> Tensors:
        outputs = self._session.run(inputs, self._outputs)
        if self._manifest.vision is None:
            return outputs
        # The step names the best class of the first output.
        scores = outputs[self._outputs[0]]
        return {"index": scores.reshape(len(scores), -1).argmax(1)[:, None]}
