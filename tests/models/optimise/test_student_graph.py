from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from airserve.core.errors import BadPackageError
from airserve.engines.session import Session
from airserve.models.manifest import Manifest, Tensor, Variant
from airserve.models.onnx_signature import signature_of
from airserve.models.optimise.student_graph import cannot_stand_in, with_signature

LABELS = ("low", "middle", "high")


def manifest(*outputs: Tensor, labels: tuple[str, ...] = LABELS) -> Manifest:
    inputs = (Tensor("scores", "FP32", (-1, 3)),)
    return Manifest(
        name="m", engine="onnx", inputs=inputs, outputs=outputs, variants=(Variant("fp32", "m.onnx", 1),), max_batch=8,
        labels=labels,
    )  # fmt: skip


def student(outputs: int = 1) -> onnx.ModelProto:
    """Three numbers, doubled. Its names are those that the original has for other things."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])
    ys = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3]) for name in ("y", "z")[:outputs]]
    nodes = [
        helper.make_node("Add", ["x", "x"], ["scores"]),
        *(helper.make_node("Identity", ["scores"], [each.name]) for each in ys),
    ]
    graph = helper.make_graph(nodes, "student", [x], ys)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_names_meet_nobody_and_the_best_class_is_named() -> None:
    wanted = manifest(Tensor("label", "BYTES", (-1,)), Tensor("best", "FP32", (-1, 3)))
    assert cannot_stand_in(wanted) is None
    model = with_signature(student(), wanted)
    inputs, outputs = signature_of(model.graph, "m.onnx")
    assert (inputs, outputs) == (wanted.signature.inputs, wanted.signature.outputs)
    rows = np.array([[1, 5, 2], [4, 0, 1]], np.float32)
    answers = Session(model.SerializeToString(), threads=1).run({"scores": rows}, ["best", "label"])
    np.testing.assert_array_equal(answers["best"], 2 * rows)
    assert answers["label"].tolist() == ["middle", "low"]


def test_outputs_that_a_student_does_not_have_are_told() -> None:
    scores = Tensor("p", "FP32", (-1, 3))
    assert (
        cannot_stand_in(manifest(scores, Tensor("age", "INT64", (-1,)))) == "a student would not give the output 'age'"
    )
    nameless = manifest(scores, Tensor("label", "BYTES", (-1,)), labels=())
    assert cannot_stand_in(nameless) == "a student would not give the output 'label'"


def test_a_student_of_two_outputs_is_none() -> None:
    with pytest.raises(BadPackageError, match="one input and one output"):
        with_signature(student(2), manifest(Tensor("p", "FP32", (-1, 3))))
