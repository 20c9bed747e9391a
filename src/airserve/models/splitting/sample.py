"""The sample that a model is split on: what its graph takes, a row for each call of the sample."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from airserve.core.call import Array, Tensors
from airserve.core.errors import InvalidInputError
from airserve.models.manifest import Manifest
from airserve.models.sample import read_calls


@dataclass(frozen=True, slots=True)
class Sample:
    """`inputs` are what the graph takes, of `rows` rows; `images` BYTES [rows] the pictures that they came from."""

    inputs: Tensors
    rows: int
    images: Array | None = None

    def part(self, start: int, stop: int) -> Tensors:
        """The rows from `start` to before `stop`."""
        return {name: array[start:stop] for name, array in self.inputs.items()}


def read_sample(source: Path, manifest: Manifest, graph_inputs: tuple[str, ...], *, most: int) -> Sample:
    """At most `most` rows of `source` for the model of `manifest`, whose graph takes `graph_inputs`.

    Raises as `read_calls` does, and `InvalidInputError` for fewer than two rows.
    """
    calls = read_calls(source, manifest, most=most)
    if len(calls) < 2:
        raise InvalidInputError(f"{source} has one row; accuracy is measured on two or more, better hundreds")
    rows = {name: np.concatenate([call[name] for call in calls]) for name in calls[0]}
    if manifest.vision is None:
        return Sample({name: rows[name] for name in graph_inputs}, len(calls))
    # Only here: other models need no Pillow.
    from airserve.engines.pixels import Pixels

    (name,) = graph_inputs
    return Sample({name: Pixels(manifest.vision).of(rows["image"])}, len(calls), rows["image"])
