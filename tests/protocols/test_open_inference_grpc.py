"""The messages of the protocol: field numbers as its clients have them, tensors there and back, every refusal."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from google.protobuf import descriptor_pb2
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from protobuf import Oneof
from tritonclient.grpc import model_config_pb2, service_pb2

from airserve.codecs.tensors import to_raw
from airserve.core.call import Array, Reply
from airserve.core.errors import AirserveError, InvalidInputError, NotImplementedHereError
from airserve.core.generation import Piece
from airserve.core.tensor import NUMPY_OF, Signature, TensorSpec, datatype_of
from airserve.protocols.open_inference_grpc import (
    EMPTY_FINAL,
    FINAL,
    boolean,
    decode_generate,
    decode_infer,
    encode_infer,
    encode_piece,
)
from airserve.protocols.open_inference_grpc.contents import from_contents, to_contents
from airserve.protocols.protos.open_inference_pb import (
    InferParameter,
    InferTensorContents,
    ModelInferRequest,
    ModelInferResponse,
    desc,
)

Input = ModelInferRequest.InferInputTensor
Output = ModelInferRequest.InferRequestedOutputTensor

LIMIT = 1 << 20
S = Signature((TensorSpec("x", "FP32", (-1, 2)),), (TensorSpec("y", "FP32", (-1, 2)),), 8)
TWO = Signature(
    (TensorSpec("a", "INT32", (-1,)), TensorSpec("b", "BYTES", (-1,))), (TensorSpec("c", "INT32", (-1,)),), 8
)
EIGHT_BYTES = np.array([[1, 2]], np.float32).tobytes()


def parameter(value: bool | int | str) -> InferParameter:
    field = {bool: "bool_param", int: "int64_param", str: "string_param"}[type(value)]
    return InferParameter(parameter_choice=Oneof(field, value))  # type: ignore[arg-type]


def request(*, raw: list[bytes] | None = None, **changes: Any) -> ModelInferRequest:
    """One row of `S`, raw, with changes to its one input."""
    fields = {"name": "x", "datatype": "FP32", "shape": [1, 2], **changes}
    return ModelInferRequest(
        model_name="m", inputs=[Input(**fields)], raw_input_contents=[EIGHT_BYTES] if raw is None else raw
    )


def refusal(message: ModelInferRequest, signature: Signature = S) -> str:
    with pytest.raises(AirserveError) as error:
        decode_infer("m", signature, message, max_bytes=LIMIT)
    assert error.value.grpc_status in ("INVALID_ARGUMENT", "UNIMPLEMENTED")
    return error.value.message


def identity(datatype: str, shape: tuple[int, ...]) -> Signature:
    free = tuple(-1 for _ in shape)
    return Signature((TensorSpec("x", datatype, free),), (TensorSpec("y", datatype, free),), 0)


def fields_of(message: Any) -> dict[str, tuple[Any, ...]]:
    return {
        field.name: (field.number, field.type, field.label, field.type_name, field.HasField("oneof_index"))
        for field in message.field
    }


def messages_of(messages: Any, prefix: str = "") -> dict[str, dict[str, tuple[Any, ...]]]:
    found = {}
    for message in messages:
        name = f"{prefix}{message.name}"
        found[name] = fields_of(message)
        found |= messages_of(message.nested_type, f"{name}.")
    return found


def procedures_of(file: Any) -> set[tuple[Any, ...]]:
    (service,) = file.service
    return {(m.name, m.input_type, m.output_type, m.client_streaming, m.server_streaming) for m in service.method}


def parsed(descriptor: Any) -> Any:
    file = descriptor_pb2.FileDescriptorProto()
    descriptor.CopyToProto(file)
    return file


def test_field_numbers_and_procedures_are_those_of_tritonclient() -> None:
    ours = descriptor_pb2.FileDescriptorProto.FromString(desc().proto.to_binary())
    mine = messages_of(ours.message_type)
    # The one field of the protocol itself that Triton lacks.
    assert mine["ModelMetadataResponse"].pop("properties")[0] == 6
    mine.pop("ModelMetadataResponse.PropertiesEntry")
    service = parsed(service_pb2.DESCRIPTOR)
    for name, fields in messages_of(service.message_type).items():
        assert mine.pop(name) == fields, name
    config = messages_of(parsed(model_config_pb2.DESCRIPTOR).message_type)
    for name, fields in mine.items():
        assert fields.items() <= config[name].items(), name
    assert procedures_of(ours) == procedures_of(service)
    (datatypes,) = ours.enum_type
    assert {value.name: value.number for value in datatypes.value} == dict(model_config_pb2.DataType.items())


@st.composite
def tensors(draw: st.DrawFn, datatypes: list[str] = list(NUMPY_OF)) -> Array:  # noqa: B006
    datatype = draw(st.sampled_from(datatypes))
    shape = draw(npst.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4))
    if datatype == "BYTES":
        elements = draw(st.lists(st.binary(max_size=9), min_size=int(np.prod(shape)), max_size=int(np.prod(shape))))
        array = np.empty(len(elements), dtype=object)
        array[:] = elements
        return array.reshape(shape)
    return draw(npst.arrays(NUMPY_OF[datatype], shape))


def same(left: Array, right: Array) -> bool:
    assert left.shape == right.shape
    if left.dtype == object:
        return left.tolist() == right.tolist()
    return left.dtype == right.dtype and left.tobytes() == right.tobytes()


@given(tensors())
def test_raw_tensors_of_every_datatype_go_there_and_back(array: Array) -> None:
    datatype, signature = datatype_of(array), identity(datatype_of(array), array.shape)
    sent = ModelInferRequest(
        model_name="m",
        inputs=[Input(name="x", datatype=datatype, shape=list(array.shape))],
        raw_input_contents=[bytes(to_raw(array))],
    )
    asked = decode_infer("m", signature, ModelInferRequest.from_binary(sent.to_binary()), max_bytes=LIMIT)
    assert same(asked.inputs["x"], array)
    reply = encode_infer(asked, Reply("m", "1", {"y": asked.inputs["x"]}))
    (output,), (raw,) = reply.outputs, reply.raw_output_contents
    assert (output.name, output.datatype, output.shape) == ("y", datatype, list(array.shape))
    assert output.contents is None
    assert raw == bytes(to_raw(array))


@given(tensors([name for name in NUMPY_OF if name != "FP16"]))
def test_typed_tensors_of_every_other_datatype_than_fp16_go_there_and_back(array: Array) -> None:
    if array.dtype.kind == "f":
        array = np.nan_to_num(array)
    datatype, signature = datatype_of(array), identity(datatype_of(array), array.shape)
    sent = ModelInferRequest(
        model_name="m",
        inputs=[Input(name="x", datatype=datatype, shape=list(array.shape), contents=to_contents(array))],
        parameters={"binary_data_output": parameter(False)},
    )
    asked = decode_infer("m", signature, ModelInferRequest.from_binary(sent.to_binary()), max_bytes=LIMIT)
    assert same(asked.inputs["x"], array)
    reply = encode_infer(asked, Reply("m", "1", {"y": array}))
    assert reply.raw_output_contents == []
    assert same(from_contents("m", reply.outputs[0].contents, datatype, array.shape, "y"), array)


def test_raw_tensors_are_views_of_the_message() -> None:
    message = request()
    array = decode_infer("m", S, message, max_bytes=LIMIT).inputs["x"]
    assert np.shares_memory(array, np.frombuffer(message.raw_input_contents[0], np.uint8))


def test_the_reply_is_raw_unless_typed_contents_came_and_are_asked_for() -> None:
    contents = InferTensorContents(fp32_contents=[1, 2])
    assert not decode_infer("m", S, request(raw=[], contents=contents), max_bytes=LIMIT).typed
    asked = request()
    asked.parameters["binary_data_output"] = parameter(False)
    assert not decode_infer("m", S, asked, max_bytes=LIMIT).typed
    asked = request(raw=[], contents=contents)
    asked.parameters["binary_data_output"] = parameter(False)
    assert decode_infer("m", S, asked, max_bytes=LIMIT).typed


def test_id_version_chosen_outputs_and_timeout() -> None:
    signature = Signature(S.inputs, (*S.outputs, TensorSpec("z", "FP32", (-1, 2))), 8)
    message = request()
    message.id, message.outputs = "r-1", [Output(name="z")]
    message.parameters["timeout"] = parameter(5000)
    asked = decode_infer("m", signature, message, max_bytes=LIMIT)
    assert (asked.id, asked.timeout_us, asked.rows) == ("r-1", 5000, 1)
    zeros = np.zeros((1, 2), np.float32)
    reply = encode_infer(asked, Reply("m", "3", {"y": zeros, "z": zeros + 1}))
    assert (reply.id, reply.model_name, reply.model_version) == ("r-1", "m", "3")
    assert [output.name for output in reply.outputs] == ["z"]
    assert reply.raw_output_contents == [(zeros + 1).tobytes()]


def test_an_output_as_its_highest_classes() -> None:
    message = request()
    message.outputs = [Output(name="y", parameters={"classification": parameter(1)})]
    asked = decode_infer("m", S, message, max_bytes=LIMIT)
    reply = encode_infer(asked, Reply("m", "1", {"y": np.array([[1, 2.5]], np.float32)}), labels=("cat", "dog"))
    assert (reply.outputs[0].datatype, reply.outputs[0].shape) == ("BYTES", [1, 1])
    assert reply.raw_output_contents[0][4:] == b"2.500000:1:dog"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"name": "z"}, "unexpected inference input 'z' for model 'm'"),
        ({"datatype": "INT32"}, "inference input 'x' data-type is 'INT32', but model 'm' expects 'FP32'"),
        ({"shape": [1, 3]}, "unexpected shape for input 'x' for model 'm'. Expected [-1,2], got [1,3]"),
        ({"shape": [1]}, "unexpected shape for input 'x' for model 'm'. Expected [-1,2], got [1]"),
        ({"shape": [-1, 2]}, "negative size"),
        ({"shape": [1 << 40, 2]}, "causes total element count to exceed maximum size of"),
        ({"shape": [9, 2], "raw": [bytes(72)]}, "inference request batch-size must be <= 8 for 'm'"),
        ({"shape": [0, 2], "raw": [b""]}, "inference request batch-size must be >= 1 for 'm'"),
        ({"raw": [bytes(7)]}, "input byte size mismatch for input 'x' for model 'm'. Expected 8, got 7"),
        ({"raw": [EIGHT_BYTES, b""]}, "unexpected additional input data for model 'm'"),
        ({"raw": []}, "unable to find data for input tensor 'x' for model 'm' in request."),
        (
            {"contents": InferTensorContents()},
            "contents field must not be specified when using raw_input_contents for 'x' for model 'm'",
        ),
        (
            {"raw": [], "contents": InferTensorContents(int_contents=[1, 2])},
            "unexpected explicit tensor data for input tensor 'x' for model 'm' of type 'INT32', "
            "expected datatype 'FP32'",
        ),
        (
            {"raw": [], "contents": InferTensorContents(fp32_contents=[1, 2], bytes_contents=[b"a"])},
            "unexpected explicit tensor data for input tensor 'x' for model 'm' of type 'BYTES'",
        ),
        (
            {"raw": [], "contents": InferTensorContents(fp32_contents=[1])},
            "unexpected number of elements 1 in the contents of input 'x' for model 'm', expecting 2",
        ),
        ({"parameters": {"shared_memory_region": parameter("r")}}, "shared memory is not offered"),
    ],
)
def test_inputs_that_do_not_fit(changes: dict[str, Any], text: str) -> None:
    assert text in refusal(request(**changes))


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"triton_x": True}, "parameter 'triton_x' is reserved"),
        ({"sequence_id": 1}, "sequences are not offered"),
        ({"timeout": "5"}, "parameter 'timeout' is an integer number of microseconds"),
        ({"binary_data_output": 1}, "parameter 'binary_data_output' is true or false"),
    ],
)
def test_parameters_that_are_out_of_order(parameters: dict[str, Any], text: str) -> None:
    message = request()
    if text.startswith("parameter 'binary"):
        message = request(raw=[], contents=InferTensorContents(fp32_contents=[1, 2]))
    message.parameters = {name: parameter(value) for name, value in parameters.items()}
    assert text in refusal(message)


@pytest.mark.parametrize(
    ("outputs", "text"),
    [
        ([Output(name="w")], "unexpected inference output 'w' for model 'm'"),
        ([Output(name="y"), Output(name="y")], "inference output 'y' is asked for twice"),
        ([Output(name="y", parameters={"shared_memory_region": parameter("r")})], "shared memory is not offered"),
        ([Output(name="y", parameters={"classification": parameter(-1)})], "number of classes, 0 or more"),
    ],
)
def test_outputs_that_there_are_not(outputs: list[Any], text: str) -> None:
    message = request()
    message.outputs = outputs
    assert text in refusal(message)


def test_a_missing_input_and_one_given_twice() -> None:
    a = Input(name="a", datatype="INT32", shape=[1])
    four = bytes(4)
    message = ModelInferRequest(model_name="m", inputs=[a], raw_input_contents=[four])
    assert refusal(message, TWO) == (
        "expected 2 inputs but got 1 inputs for model 'm'. Got input(s) ['a'], but missing required input(s) ['b']. "
        "Please provide all required input(s)."
    )
    message = ModelInferRequest(model_name="m", inputs=[a, a], raw_input_contents=[four, four])
    assert "inference input 'a' is given twice" in refusal(message, TWO)
    b = Input(name="b", datatype="BYTES", shape=[1])
    message = ModelInferRequest(model_name="m", inputs=[a, b], raw_input_contents=[four])
    assert refusal(message, TWO) == "unable to find data for input tensor 'b' for model 'm' in request."


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"\1\0", "incomplete string length indicator for inference input 'b'"),
        (b"\5\0\0\0abc", "incomplete string data for inference input 'b'"),
        (b"\1\0\0\0a\1\0\0\0b", "unexpected number of string elements 2 for inference input 'b', expecting 1"),
    ],
)
def test_strings_that_are_cut_off_or_too_many(raw: bytes, text: str) -> None:
    a, b = Input(name="a", datatype="INT32", shape=[1]), Input(name="b", datatype="BYTES", shape=[1])
    assert text in refusal(ModelInferRequest(model_name="m", inputs=[a, b], raw_input_contents=[bytes(4), raw]), TWO)


@pytest.mark.parametrize(
    ("datatype", "field", "value"),
    [
        ("INT8", "int_contents", 128),
        ("INT16", "int_contents", -32769),
        ("UINT8", "uint_contents", 256),
        ("UINT16", "uint_contents", 65536),
    ],
)
def test_values_that_do_not_fit_a_small_integer_are_refused(datatype: str, field: str, value: int) -> None:
    contents = InferTensorContents()
    setattr(contents, field, [value])
    message = request(raw=[], datatype=datatype, shape=[1], contents=contents)
    assert refusal(message, identity(datatype, (1,))) == f"a value of input 'x' does not fit into {datatype}"


def test_fp16_has_no_typed_contents_in_either_direction() -> None:
    half = identity("FP16", (1,))
    typed = request(raw=[], datatype="FP16", shape=[1], contents=InferTensorContents(fp32_contents=[1]))
    assert "FP16, which has no typed contents" in refusal(typed, half)
    mixed = Signature(S.inputs, half.outputs, 0)
    wanted = request(raw=[], contents=InferTensorContents(fp32_contents=[1, 2]))
    wanted.parameters["binary_data_output"] = parameter(False)
    assert refusal(wanted, mixed).startswith("output 'y' is FP16, which has no typed contents")


@settings(max_examples=300)
@given(st.binary(max_size=200), st.integers(0, 400), st.booleans())
def test_damaged_messages_are_refused_and_nothing_else(noise: bytes, cut: int, whole: bool) -> None:
    """A message that the library reads at all is decoded or refused with one of our errors."""
    good = request().to_binary()
    data = noise if whole else good[:cut] + noise[:8] + good[cut + 8 :]
    try:
        message = ModelInferRequest.from_binary(data)
    except Exception:
        return
    try:
        decode_infer("m", S, message, max_bytes=LIMIT)
    except (InvalidInputError, NotImplementedHereError) as error:
        assert error.message


def test_what_tritonclient_writes_is_read_and_what_we_write_it_reads() -> None:
    theirs = service_pb2.ModelInferRequest(model_name="m", id="7")
    theirs.inputs.add(name="x", datatype="FP32", shape=[1, 2])
    theirs.parameters["timeout"].int64_param = 9
    theirs.parameters["priority"].uint64_param = 1
    theirs.raw_input_contents.append(EIGHT_BYTES)
    asked = decode_infer("m", S, ModelInferRequest.from_binary(theirs.SerializeToString()), max_bytes=LIMIT)
    assert (asked.id, asked.timeout_us, asked.inputs["x"].tolist()) == ("7", 9, [[1, 2]])
    reply = encode_infer(asked, Reply("m", "1", {"y": asked.inputs["x"]})).to_binary()
    read = service_pb2.ModelInferResponse.FromString(reply)
    assert (read.id, read.outputs[0].shape, read.raw_output_contents[0]) == ("7", [1, 2], EIGHT_BYTES)


def text_request(**more: Any) -> ModelInferRequest:
    inputs = [Input(name="text_input", datatype="BYTES", shape=[1])]
    return ModelInferRequest(model_name="m", id="t", inputs=inputs, raw_input_contents=[b"\2\0\0\0Hi"], **more)


def test_a_text_request_is_its_text_and_its_sampling_parameters() -> None:
    message = text_request(parameters={"max_tokens": parameter(5), EMPTY_FINAL: parameter(True)})
    message.inputs.append(Input(name="temperature", datatype="FP32", shape=[1]))
    message.raw_input_contents.append(np.array([0.5], np.float32).tobytes())
    asked = decode_generate("m", message)
    assert asked.inputs == {"text_input": "Hi", "temperature": 0.5}
    assert (asked.id, asked.parameters) == ("t", {"max_tokens": 5})


@pytest.mark.parametrize(
    ("shape", "raw", "text"),
    [
        ([2], b"\1\0\0\0a\1\0\0\0b", "is one value, of shape [1]"),
        ([1], b"\1\0\0\0\xff", "is not UTF-8 text"),
    ],
)
def test_a_text_request_that_is_no_single_text(shape: list[int], raw: bytes, text: str) -> None:
    message = text_request()
    message.inputs[0].shape, message.raw_input_contents = shape, [raw]
    with pytest.raises(InvalidInputError, match=text.replace("[", r"\[").replace("]", r"\]")):
        decode_generate("m", message)


def test_each_piece_of_text_is_a_response_and_the_end_is_told_to_who_asks() -> None:
    message = text_request(parameters={EMPTY_FINAL: boolean(True)})
    first = encode_piece(message, "m", "1", Piece([{"text": "Hé"}]))
    assert first is not None
    assert (first.id, first.outputs[0].name, first.raw_output_contents) == ("t", "text_output", [b"\3\0\0\0H\xc3\xa9"])
    assert first.parameters[FINAL] == boolean(False)
    last = Piece([{"text": "", "finish_reason": "stop"}], final=True)
    end = encode_piece(message, "m", "1", last)
    assert end == ModelInferResponse(model_name="m", model_version="1", id="t", parameters={FINAL: boolean(True)})
    assert encode_piece(text_request(), "m", "1", last) is None
