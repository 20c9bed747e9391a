"""The protocol's pure functions, case by case, with the wordings that clients look for."""

from __future__ import annotations

import gzip
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airserve.core.call import Reply
from airserve.core.errors import AirserveError, InvalidInputError, OverloadedError
from airserve.core.tensor import Signature, TensorSpec
from airserve.protocols.open_inference import (
    InferRequest,
    Operation,
    decode_infer,
    encode_infer,
    match,
    model_metadata,
    render_error,
)

S = Signature((TensorSpec("x", "FP32", (-1, 2)),), (TensorSpec("y", "FP32", (-1, 2)),), 8)
TWO = Signature(
    (TensorSpec("a", "INT32", (-1,)), TensorSpec("b", "BYTES", (-1,))), (TensorSpec("c", "INT32", (-1,)),), 8
)
GOOD: dict[str, Any] = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}


def decode(
    document: Any, tail: bytes = b"", *, signature: Signature = S, binary: bool = False, **headers: str
) -> InferRequest:
    text = document if isinstance(document, bytes) else json.dumps(document).encode()
    named = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    if tail or binary:
        named[b"inference-header-content-length"] = str(len(text)).encode()
    return decode_infer("m", signature, named, text + tail, max_bytes=1 << 20)


def refusal(document: Any, tail: bytes = b"", *, signature: Signature = S, **headers: str) -> str:
    with pytest.raises(AirserveError) as error:
        decode(document, tail, signature=signature, **headers)
    assert 400 <= error.value.http_status < 500 or error.value.http_status == 501
    return error.value.message


def given_input(**changes: Any) -> dict[str, Any]:
    return {"inputs": [{**GOOD, **changes}]}


@pytest.mark.parametrize(
    ("method", "path", "operation", "model", "version"),
    [
        ("GET", "/v2", Operation.SERVER_METADATA, None, None),
        ("GET", "/v2/", Operation.SERVER_METADATA, None, None),
        ("GET", "/v2/health/live", Operation.SERVER_LIVE, None, None),
        ("GET", "/v2/health/ready", Operation.SERVER_READY, None, None),
        ("GET", "/v2/models/m", Operation.MODEL_METADATA, "m", None),
        ("GET", "/v2/models/m/versions/3", Operation.MODEL_METADATA, "m", "3"),
        ("GET", "/v2/models/m/ready", Operation.MODEL_READY, "m", None),
        ("GET", "/v2/models/m/versions/3/ready", Operation.MODEL_READY, "m", "3"),
        ("POST", "/v2/models/m/infer", Operation.INFER, "m", None),
        ("POST", "/v2/models/a%20b%2Fc/versions/3/infer?x=1", Operation.INFER, "a b/c", "3"),
        ("GET", "/v2/models", Operation.MODEL_LIST, None, None),
        ("GET", "/v2/models/stats", Operation.ALL_STATISTICS, None, None),
        ("GET", "/v2/models/m/versions/3/stats", Operation.MODEL_STATISTICS, "m", "3"),
        ("GET", "/v2/models/m/config", Operation.MODEL_CONFIG, "m", None),
        ("POST", "/v2/models/m/generate", Operation.GENERATE, "m", None),
        ("POST", "/v2/models/m/versions/3/generate_stream", Operation.GENERATE_STREAM, "m", "3"),
        ("POST", "/v2/repository/index", Operation.REPOSITORY_INDEX, None, None),
        ("POST", "/v2/repository/models/a%20b/load", Operation.MODEL_LOAD, "a b", None),
        ("POST", "/v2/repository/models/m/unload", Operation.MODEL_UNLOAD, "m", None),
        ("GET", "/v2/systemsharedmemory/status", Operation.SHARED_MEMORY_STATUS, None, None),
        ("GET", "/v2/cudasharedmemory/status", Operation.SHARED_MEMORY_STATUS, None, None),
    ],
)
def test_routes(method: str, path: str, operation: Operation, model: str | None, version: str | None) -> None:
    route = match(method, path)
    assert (route.operation, route.model, route.version) == (operation, model, version)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404), ("GET", "/v1", 404), ("GET", "/v2/models/", 404),
        ("GET", "/v2/models/m/other", 404), ("POST", "/v2", 405), ("GET", "/v2/models/m/infer", 405),
        ("POST", "/v2/models", 405), ("GET", "/v2/repository/index", 405), ("GET", "/v2/repository", 404),
        ("GET", "/v2/repository/models/m/load", 405), ("POST", "/v2/repository/models//load", 404),
        ("POST", "/v2/repository/other/index", 501), ("POST", "/v2/repository/other/models/m/load", 501),
        ("GET", "/v2/trace/setting", 501), ("POST", "/v2/models/m/trace/setting", 501), ("GET", "/v2/logging", 501),
        ("POST", "/v2/systemsharedmemory/region/r/register", 501), ("GET", "/v2/cudasharedmemory/unregister", 405),
        ("GET", "/v2/systemsharedmemory/region/r/status", 404), ("GET", "/v2/other", 404),
        ("GET", "/" + "x" * 9999, 404),
    ],
)  # fmt: skip
def test_what_is_no_route(method: str, path: str, status: int) -> None:
    with pytest.raises(AirserveError) as error:
        match(method, path)
    assert error.value.http_status == status


def test_data_is_flat_or_nested_and_both_are_the_same() -> None:
    for data in ([1, 2, 3, 4], [[1, 2], [3, 4]]):
        request = decode(given_input(shape=[2, 2], data=data))
        np.testing.assert_array_equal(request.inputs["x"], [[1, 2], [3, 4]])
        assert request.rows == 2
    for data in ([[1, 2, 3, 4]], [[1], [2], [3], [4]], [1, 2, 3], [[1, 2], [3]], [[1, 2], 3]):
        assert "hape" in refusal(given_input(shape=[2, 2], data=data)) or "fit" in refusal(
            given_input(shape=[2, 2], data=data)
        )


def test_numbers_that_json_has_no_token_for_are_read() -> None:
    request = decode(b'{"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [NaN, -Infinity]}]}')
    assert np.isnan(request.inputs["x"][0, 0])
    assert request.inputs["x"][0, 1] == -np.inf


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"datatype": "FP16"}, "data-type is 'FP16', but model 'm' expects 'FP32'"),
        (
            {"shape": [1, 3], "data": [1, 2, 3]},
            "unexpected shape for input 'x' for model 'm'. Expected [-1,2], got [1,3]",
        ),
        ({"shape": [2]}, "unexpected shape"),
        ({"shape": [-1, 2]}, "negative"),
        ({"shape": [1 << 40, 2]}, "exceed"),
        ({"shape": [1.5, 2]}, "shape"),
        ({"shape": [9, 2], "data": [0] * 18}, "inference request batch-size must be <= 8 for 'm'"),
        ({"shape": [0, 2], "data": []}, "batch-size must be >= 1"),
        ({"name": "z"}, "unexpected inference input 'z' for model 'm'"),
        ({"data": None}, "Input must set only one of the following fields"),
        ({"parameters": {"binary_data_size": 8}}, "Input must set only one of the following fields"),
        ({"data": None, "parameters": {"shared_memory_region": "r"}}, "shared memory is not offered"),
        ({"data": "text"}, "FP32"),
        ({"data": [1, "2"]}, "FP32"),
        ({"data": [1e39, 0]}, "fit"),
    ],
)
def test_inputs_that_do_not_fit(changes: dict[str, Any], words: str) -> None:
    assert words in refusal(given_input(**changes))


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({"parameters": {"triton_enable": True}}, "reserved"),
        ({"parameters": {"sequence_id": 7}}, "sequences are not offered"),
        ({"parameters": {"timeout": "soon"}}, "microseconds"),
        ({"parameters": {"timeout": -1}}, "microseconds"),
        ({"parameters": {"binary_data_output": 1}}, "true or false"),
        ({"parameters": {"x": {}}}, "parameters"),
        ({"outputs": [{"name": "q"}]}, "unexpected inference output 'q' for model 'm'"),
        ({"outputs": [{"name": "y"}, {"name": "y"}]}, "twice"),
        ({"outputs": [{"name": "y", "parameters": {"shared_memory_region": "r"}}]}, "shared memory is not offered"),
        ({"outputs": [{"name": "y", "parameters": {"classification": -1}}]}, "number of classes"),
        ({"outputs": [{"name": "y", "parameters": {"classification": "3"}}]}, "number of classes"),
    ],
)
def test_requests_that_ask_for_what_is_not_there(extra: dict[str, Any], words: str) -> None:
    assert words in refusal({**given_input(), **extra})


def test_all_inputs_are_needed_once() -> None:
    a = {"name": "a", "shape": [1], "datatype": "INT32", "data": [1]}
    assert "expected 2 inputs but got 1 inputs for model 'm'" in refusal({"inputs": [a]}, signature=TWO)
    assert "twice" in refusal({"inputs": [a, a]}, signature=TWO)
    b = {"name": "b", "shape": [2], "datatype": "BYTES", "data": ["é", ""]}
    assert "different batch sizes" in refusal({"inputs": [a, b]}, signature=TWO)
    one = {**b, "shape": [1], "data": ["é"]}
    assert "fit" in refusal({"inputs": [{**a, "data": [1 << 40]}, one]}, signature=TWO)
    mixed = {"name": "b", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": 5}}
    request = decode({"inputs": [a, mixed]}, b"\x01\x00\x00\x00\xff", signature=TWO)
    assert request.inputs["b"].tolist() == [b"\xff"]
    assert request.inputs["a"].tolist() == [1]


def binary(size: int, shape: list[int] | None = None) -> dict[str, Any]:
    head = {"name": "x", "shape": shape or [1, 2], "datatype": "FP32", "parameters": {"binary_data_size": size}}
    return {"inputs": [head]}


def test_binary_data_is_a_view_of_the_body() -> None:
    text = json.dumps(binary(8)).encode()
    body = text + np.float32([1, 2]).tobytes()
    headers = {b"inference-header-content-length": str(len(text)).encode()}
    x = decode_infer("m", S, headers, body, max_bytes=100).inputs["x"]
    assert np.shares_memory(x, np.frombuffer(body, np.uint8))


@pytest.mark.parametrize(
    ("size", "tail", "words"),
    [
        (8, b"\0" * 7, "unexpected size for input 'x', expecting 1 additional bytes for model 'm'"),
        (8, b"\0" * 9, "unexpected additional input data for model 'm'"),
        (4, b"\0" * 4, "input byte size mismatch for input 'x' for model 'm'. Expected 8, got 4"),
        (1 << 60, b"\0" * 8, "additional bytes"),
        (-8, b"\0" * 8, "binary_data_size"),
        (True, b"\0" * 8, "binary_data_size"),
    ],
)
def test_lengths_that_lie(size: Any, tail: bytes, words: str) -> None:
    assert words in refusal(binary(size), tail)


def test_a_raw_request_is_the_only_input() -> None:
    headers = {b"inference-header-content-length": b"0"}
    request = decode_infer("m", S, headers, np.float32([5, 6]).tobytes(), max_bytes=100)
    assert request.inputs["x"].tolist() == [[5, 6]]
    assert request.binary_default
    free = Signature((TensorSpec("x", "FP32", (-1, -1)),), S.outputs, 8)
    assert decode_infer("m", free, headers, b"\0" * 20, max_bytes=100).inputs["x"].shape == (1, 5)
    text = Signature((TensorSpec("s", "BYTES", (-1,)),), S.outputs, 8)
    assert decode_infer("m", text, headers, b"hello", max_bytes=100).inputs["s"].tolist() == [b"hello"]
    for signature, body in ((S, b"\0" * 7), (free, b"\0" * 7), (TWO, b"")):
        with pytest.raises(InvalidInputError):
            decode_infer("m", signature, headers, body, max_bytes=100)


def test_compressed_bodies_count_their_header_uncompressed() -> None:
    text = json.dumps(binary(8)).encode()
    headers = {b"inference-header-content-length": str(len(text)).encode(), b"content-encoding": b"gzip"}
    body = gzip.compress(text + np.float32([1, 2]).tobytes())
    assert decode_infer("m", S, headers, body, max_bytes=1000).inputs["x"].tolist() == [[1, 2]]
    with pytest.raises(AirserveError) as error:
        decode_infer("m", S, headers, body, max_bytes=20)
    assert error.value.http_status == 413


def reply(**outputs: np.ndarray) -> Reply:
    return Reply("m", "3", outputs)


def test_a_reply_is_json_or_binary_as_each_output_was_asked_for() -> None:
    outputs = {"y": np.float32([[1, 2]]), "z": np.array([7], np.int64)}
    asked = [{"name": "y"}, {"name": "z", "parameters": {"binary_data": True}}]
    signature = Signature(S.inputs, (TensorSpec("y", "FP32", (-1, 2)), TensorSpec("z", "INT64", (-1,))), 8)
    # An output listed without `binary_data` stays JSON although the default says binary.
    request = decode(
        {**given_input(), "id": "i", "outputs": asked, "parameters": {"binary_data_output": True}}, signature=signature
    )
    encoded = encode_infer(request, reply(**outputs))
    headers = dict(encoded.headers)
    body = b"".join(map(bytes, encoded.chunks))
    head = json.loads(body[: int(headers[b"inference-header-content-length"])])
    assert head["id"] == "i"
    assert head["model_version"] == "3"
    assert head["outputs"][0]["data"] == [1, 2]
    assert head["outputs"][1]["parameters"] == {"binary_data_size": 8}
    assert body.endswith(np.int64(7).tobytes())
    assert encoded.length == len(body)


def test_large_tensors_leave_without_a_copy_and_empty_ones_as_json() -> None:
    request = decode({**given_input(), "parameters": {"binary_data_output": True}})
    large = np.zeros((1, 100_000), np.float32)
    chunk = encode_infer(request, reply(y=large)).chunks[1]
    assert isinstance(chunk, memoryview)
    assert np.shares_memory(np.frombuffer(chunk, np.float32), large)
    empty = encode_infer(request, reply(y=np.zeros((1, 0), np.float32)))
    assert dict(empty.headers)[b"content-type"] == b"application/json"
    assert json.loads(bytes(empty.chunks[0]))["outputs"][0]["parameters"] == {"binary_data_size": 0}


def test_what_json_cannot_carry() -> None:
    request = decode(given_input())
    body = bytes(encode_infer(request, reply(y=np.float32([[np.nan, np.inf]]))).chunks[0])
    assert b"NaN" in body
    assert b"Infinity" in body
    with pytest.raises(InvalidInputError, match="UTF-8"):
        encode_infer(request, reply(y=np.array([b"\xff"], object)))
    half = Signature(S.inputs, (TensorSpec("y", "FP16", (-1, 2)),), 8)
    assert "sending FP16 data via JSON is not supported" in refusal(given_input(), signature=half)


def test_errors_are_rendered_with_a_code_and_when_to_come_back() -> None:
    encoded = render_error(OverloadedError("later", retry_after=0.2))
    assert encoded.status == 503
    assert dict(encoded.headers)[b"retry-after"] == b"1"
    assert json.loads(bytes(encoded.chunks[0])) == {"error": "later", "code": "overloaded"}


def test_metadata_shows_the_free_batch_axis() -> None:
    document = json.loads(bytes(model_metadata("m", ["1", "2"], S, "onnx").chunks[0]))
    assert document["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]
    assert document["versions"] == ["1", "2"]


@settings(max_examples=300)
@given(
    st.binary(max_size=300), st.one_of(st.none(), st.integers(-5, 400).map(str), st.text("0123456789-+e. ", max_size=8))
)
def test_no_bytes_make_it_raise_anything_but_a_refusal(body: bytes, length: str | None) -> None:
    headers = {} if length is None else {b"inference-header-content-length": length.encode()}
    for signature in (S, TWO):
        try:
            decode_infer("m", signature, headers, body, max_bytes=1000)
        except AirserveError as error:
            assert error.http_status < 500 or error.http_status == 501


@settings(max_examples=300)
@given(st.integers(0, 200), st.binary(min_size=1, max_size=4), st.booleans())
def test_no_mutation_of_a_good_request_does_either(place: int, patch: bytes, insert: bool) -> None:
    text = json.dumps(binary(8)).encode()
    body = text + b"\0" * 8
    body = body[:place] + patch + body[place + (0 if insert else len(patch)) :]
    headers = {b"inference-header-content-length": str(len(text)).encode()}
    try:
        decode_infer("m", S, headers, body, max_bytes=1000)
    except AirserveError as error:
        assert error.http_status < 500 or error.http_status == 501
