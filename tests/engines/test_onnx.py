from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from airserve.core.errors import BadPackageError, InvalidInputError, ModelFailedError
from airserve.core.tensor import Signature, TensorSpec
from airserve.engines import Source, load_model


def save(path: Path, nodes: list[onnx.NodeProto], inputs: list, outputs: list, constants: list = ()) -> Path:  # type: ignore[assignment]
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(constants))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


@pytest.fixture
def doubler(tmp_path: Path) -> Path:
    two = helper.make_tensor("two", TensorProto.FLOAT, [1], [2.0])
    return save(
        tmp_path / "double.onnx",
        [helper.make_node("Mul", ["x", "two"], ["y"])],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 3])],
        [two],
    )


def source(path: Path, signature: Signature) -> Source:
    return Source(folder=path.parent, file=path.name, signature=signature)


SIGNATURE = Signature((TensorSpec("x", "FP32", (-1, 3)),), (TensorSpec("y", "FP32", (-1, 3)),), 8)


def test_a_graph_computes_all_its_outputs_by_name(doubler: Path) -> None:
    model = load_model("onnx", source(doubler, SIGNATURE), threads=1)
    outputs = model.run({"x": np.ones((2, 3), np.float32)})
    np.testing.assert_array_equal(outputs["y"], np.full((2, 3), 2, np.float32))


def test_a_view_of_a_read_only_body_is_a_good_input(doubler: Path) -> None:
    body = b"\x00" * 5 + np.arange(3, dtype="<f4").tobytes()
    view = np.frombuffer(body, "<f4", offset=5).reshape(1, 3)
    outputs = load_model("onnx", source(doubler, SIGNATURE), threads=1).run({"x": view})
    np.testing.assert_array_equal(outputs["y"], [[0, 2, 4]])


def test_bytes_go_in_as_text_and_what_is_not_text_is_the_clients_error(tmp_path: Path) -> None:
    path = save(
        tmp_path / "echo.onnx",
        [helper.make_node("Identity", ["s"], ["t"])],
        [helper.make_tensor_value_info("s", TensorProto.STRING, [None])],
        [helper.make_tensor_value_info("t", TensorProto.STRING, [None])],
    )
    signature = Signature((TensorSpec("s", "BYTES", (-1,)),), (TensorSpec("t", "BYTES", (-1,)),), 8)
    model = load_model("onnx", source(path, signature), threads=1)
    assert list(model.run({"s": np.array([b"caf\xc3\xa9"], object)})["t"]) == ["café"]
    with pytest.raises(InvalidInputError, match="UTF-8"):
        model.run({"s": np.array([b"\xff\xfe"], object)})


def test_a_model_that_fails_on_an_input_says_so_without_paths(tmp_path: Path) -> None:
    table = helper.make_tensor("table", TensorProto.FLOAT, [2, 1], [1.0, 2.0])
    path = save(
        tmp_path / "gather.onnx",
        [helper.make_node("Gather", ["table", "i"], ["y"])],
        [helper.make_tensor_value_info("i", TensorProto.INT64, [None])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])],
        [table],
    )
    signature = Signature((TensorSpec("i", "INT64", (-1,)),), (TensorSpec("y", "FP32", (-1, 1)),), 8)
    model = load_model("onnx", source(path, signature), threads=1)
    with pytest.raises(ModelFailedError) as failure:
        model.run({"i": np.array([99])})
    assert "/" not in failure.value.message.replace("[-2,1]", "")
    assert len(failure.value.message) < 400


def test_a_file_that_is_no_graph_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"not a graph")
    with pytest.raises(BadPackageError, match="cannot load"):
        load_model("onnx", source(path, SIGNATURE), threads=1)


def test_an_unknown_engine_is_named(doubler: Path) -> None:
    with pytest.raises(BadPackageError, match="'tensorrt'"):
        load_model("tensorrt", source(doubler, SIGNATURE), threads=1)
