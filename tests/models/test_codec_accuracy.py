"""Accuracy of codecs: what is measured is what was lost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from airserve.codecs.frame import decode, encode
from airserve.core.call import Array, Tensors
from airserve.core.errors import InvalidInputError
from airserve.core.tensor import Signature
from airserve.engines.options import Text
from airserve.models.codec_accuracy import COSINE, RELATIVE, TOP_1, agreement, measure, run_calls, run_exact
from airserve.models.manifest import Manifest, Tensor, Variant


@dataclass
class Matrix:
    """y = x · matrix, and how many rows each run had."""

    signature: Signature
    matrix: Array
    runs: list[int]

    def run(self, inputs: Tensors) -> Tensors:
        self.runs.append(len(inputs["x"]))
        return {"y": inputs["x"] @ self.matrix}

    def example(self, rows: int) -> Tensors:
        return {"x": np.zeros((rows, len(self.matrix)), np.float32)}

    def close(self) -> None: ...


def manifest(width: int, classes: int, *, labels: int = 0, max_batch: int = 8) -> Manifest:
    return Manifest(
        name="m",
        engine="onnx",
        inputs=(Tensor("x", "FP32", (-1, width)),),
        outputs=(Tensor("y", "FP32", (-1, classes)),),
        variants=(Variant("original", "model.onnx", 1),),
        max_batch=max_batch,
        labels=tuple(f"class {at}" for at in range(labels)),
    )


def classifier() -> tuple[Matrix, Manifest, list[Tensors]]:
    """Ten classes, of which the one is meant whose own input is largest."""
    described = manifest(10, 10, labels=10)
    rows = np.random.default_rng(3).normal(size=(200, 10)).astype(np.float32)
    return Matrix(described.signature, np.eye(10, dtype=np.float32), []), described, [{"x": row[None]} for row in rows]


def test_a_classifier_is_held_to_its_best_class_and_coarser_codecs_agree_less() -> None:
    model, described, calls = classifier()
    exact = run_exact(model, described, calls)
    found = {
        each.codec: each
        for each in measure(model, described, exact, ["fp16", "int4", "int2c+zstd"])
        if each.tensor == "x"
    }
    assert all(each.metric == TOP_1 and each.accuracy is not None for each in found.values())
    fine, middle, coarse = (found[name].accuracy or 0.0 for name in ("fp16", "int4", "int2c+zstd"))
    assert fine > 0.99 > middle > coarse > 0.2
    # Against the answers that NumPy gives of the very frames.
    rows = np.concatenate([call["x"] for call in calls])
    sent = [encode(call["x"], "int4") for call in calls]
    back = np.concatenate([decode(frame, max_bytes=1000) for frame in sent])
    assert middle == pytest.approx(float((rows.argmax(1) == back.argmax(1)).mean()), abs=1e-6)
    assert found["int4"].bytes == pytest.approx(np.mean([len(frame) for frame in sent]), abs=0.06)


def test_rows_run_together_where_the_model_batches_and_alone_where_it_does_not() -> None:
    model, described, calls = classifier()
    run_calls(model, described, calls[:20])
    assert model.runs == [8, 8, 4]
    alone = Matrix(model.signature, model.matrix, [])
    run_calls(alone, manifest(10, 10, max_batch=0), calls[:3])
    assert alone.runs == [1, 1, 1]


def test_the_usual_codecs_are_tried_on_inputs_and_outputs_that_are_floats() -> None:
    model, described, calls = classifier()
    entries = measure(model, described, run_exact(model, described, calls[:10]), None)
    assert {each.tensor for each in entries} == {"x", "y"}
    assert {"fp16+zstd", "int8c+zstd", "int4c+ans"} <= {each.codec for each in entries}
    assert not any(each.codec.startswith("fp32") for each in entries)


def test_a_codec_that_is_for_none_of_the_tensors_is_refused() -> None:
    model, described, calls = classifier()
    exact = run_exact(model, described, calls[:4])
    with pytest.raises(InvalidInputError, match="webp:60 is for no input and no output"):
        measure(model, described, exact, ["fp16", "webp:60"])
    with pytest.raises(InvalidInputError, match="'int9' is none of"):
        measure(model, described, exact, ["int9"])


@given(hnp.arrays(np.float32, (3, 4), elements=st.floats(-100, 100, width=32)))
def test_an_answer_agrees_with_itself_whatever_it_is(array: Array) -> None:
    for described in (manifest(4, 4), manifest(4, 4, labels=4)):
        metric, accuracy = agreement(described, [{"y": array}], [{"y": array}])
        assert (metric, accuracy) == (TOP_1 if described.labels else RELATIVE, 1.0)


def test_numbers_are_held_to_their_relative_error_and_never_below_nothing() -> None:
    exact = np.array([[1.0, -3.0]], np.float32)
    described = manifest(2, 2)
    assert agreement(described, [{"y": exact * 0.9}], [{"y": exact}])[1] == pytest.approx(0.9)
    assert agreement(described, [{"y": exact * 5}], [{"y": exact}])[1] == 0.0
    assert agreement(described, [{"y": exact[:, :1]}], [{"y": exact}])[1] == 0.0
    assert agreement(described, [{"y": exact}], [{"y": exact * 0}])[1] == 0.0


def test_embeddings_are_held_to_their_direction() -> None:
    described = Manifest(
        name="m", engine="onnx", inputs=(Tensor("text", "BYTES", (-1,)),),
        outputs=(Tensor("embedding", "FP32", (-1, 2)), Tensor("tokens", "INT32", (-1,))),
        variants=(Variant("original", "model.onnx", 1),), max_batch=8, text=Text(),
    )  # fmt: skip
    exact = {"embedding": np.array([[1.0, 0.0]], np.float32), "tokens": np.array([3], np.int32)}
    longer = {**exact, "embedding": exact["embedding"] * 7}
    turned = {**exact, "embedding": np.array([[1.0, 1.0]], np.float32)}
    metric, accuracy = agreement(described, [longer], [exact])
    assert metric == COSINE
    assert accuracy == pytest.approx(1.0)
    assert agreement(described, [turned], [exact])[1] == pytest.approx(np.sqrt(0.5))
