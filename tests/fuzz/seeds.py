"""What the fuzzers begin with: good input for each target, from which they mutate."""

from __future__ import annotations

import gzip
import io
import json
import struct
import zlib

import numpy as np
from tritonclient.grpc import service_pb2

from airserve.codecs.frame import encode
from airserve.metering.journal_format import encode_batch
from tests.server.bad_inputs import TWICE

_TENSOR = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2.5, -3e3, 4]}
_THREE = [
    _TENSOR,
    {"name": "text", "datatype": "BYTES", "shape": [1, 1], "data": ["a\u00e9\n"]},
    {"name": "n", "datatype": "INT64", "shape": [1, 2], "data": [[1, 2]], "parameters": {"a": True}},
]
_INFER = json.dumps({"id": "i", "inputs": _THREE, "outputs": [{"name": "y", "parameters": {"classification": 2}}]})
_RAW = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4],
                               "parameters": {"binary_data_size": 16}}]}).encode()  # fmt: skip
_CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
_CHAT = {
    "model": "m",
    "messages": [
        {"role": "system", "content": "a"},
        {"role": "user", "content": [{"type": "text", "text": "b"}]},
        {"role": "assistant", "tool_calls": [_CALL]},
        {"role": "tool", "content": "c", "tool_call_id": "1"},
    ],
    "temperature": 0.5, "n": 2, "stop": ["x"], "seed": 1, "logit_bias": {"5": 1}, "logprobs": True, "stream": True,
    "stream_options": {"include_usage": True}, "tool_choice": "auto",
    "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}},
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
}  # fmt: skip


def _npy(array: np.ndarray) -> bytes:  # type: ignore[type-arg]
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _messages() -> list[bytes]:
    message = service_pb2.ModelInferRequest(model_name="m", id="i", raw_input_contents=[b"\0" * 16])
    message.inputs.add(name="x", datatype="FP32", shape=[1, 4])
    message.parameters["timeout"].int64_param = 5
    typed = service_pb2.ModelInferRequest(model_name="m")
    typed.inputs.add(name="x", datatype="FP32", shape=[1, 4]).contents.fp32_contents.extend([1, 2, 3, 4])
    typed.outputs.add(name="y").parameters["classification"].int64_param = 1
    return [message.SerializeToString(), typed.SerializeToString()]


def _frames() -> list[bytes]:
    array = np.maximum(np.random.default_rng(0).normal(-0.5, 1, (1, 24, 5, 5)), 0).astype(np.float32)
    codecs = ("fp32", "fp32+shuffle", "fp16+lz4", "int8c+zstd", "int4c+ans", "int2+ans", "topk:0.1+zstd", "bf16+zstd")
    texts = np.array([[b"abc"] * 20], object)
    return [*(encode(array, codec) for codec in codecs), encode(texts, "fp32+zstd"), encode(array > 0, "fp32+ans")]


def _text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


_GGUF = (
    b"GGUF" + struct.pack("<IQQ", 3, 1, 3) + _text("general.architecture") + struct.pack("<I", 8) + _text("llama")
    + _text("llama.block_count") + struct.pack("<II", 4, 2)
    + _text("list") + struct.pack("<IIQ", 9, 4, 2) + struct.pack("<II", 1, 2)
    + _text("t") + struct.pack("<IQIQ", 1, 32, 0, 0) + b"\0" * 256
)  # fmt: skip
_REQUESTS = (
    b"POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc"
    b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nt: a\r\n\r\n"
    b"GET http://x/ HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n"
    b"HEAD / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n"
)

SEEDS: dict[str, list[bytes]] = {
    "infer-json": [_INFER.encode(), json.dumps({"inputs": [_TENSOR]}).encode(), *TWICE,
                   b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,4],"data":[NaN,1,-Infinity,2]}]}'],
    "infer-binary": [len(_RAW).to_bytes(2, "big") + _RAW + b"\0" * 16, b"\0\0" + b"\0" * 16],
    "coded-frames": _frames(),
    "infer-header": [b"0\ngzip\ngzip;q=0.5, deflate, *;q=0", b"2\n\n"],
    "generate": [b'{"text_input": "a", "parameters": {"max_tokens": 5, "stop": "x"}, "temperature": 0.1}',
                 b'{"x": [1, 2, 3, 4], "text": "a", "n": [1], "id": "i"}'],
    "openai-documents": [json.dumps(_CHAT).encode(), b'{"model": "m", "prompt": ["a"], "max_tokens": 3}',
                         b'{"model": "m", "input": ["a", "b"], "encoding_format": "base64", "dimensions": 8}'],
    "plain-rows": [b"[[1, 2, 3, 4], [5, 6.5, 7, 8]]", b'{"inputs": {"x": [[1, 2, 3, 4]]}}', b'["a", "b"]',
                   b'[{"x": [1, 2, 3, 4]}]', b'{"x": "a"}'],
    "plain-npy": [_npy(np.ones((2, 4), np.float32)), _npy(np.ones((4, 2), np.int8).T), _npy(np.array(["a", "bc"]))],
    "plain-headers": [b"application/json; charset=utf-8\ntext/*;q=0.5, application/x-npy\ngzip", b"image/png\n*/*\n"],
    "grpc-messages": _messages(),
    "raw-tensors": [b"\x0c\x02\1\0\0\0a\0\0\0\0", b"\x0a\x01\0\0\0\0", b"\0\2\0\1"],
    "compression": [gzip.compress(b"a" * 1000), zlib.compress(b"b" * 1000)],
    "server-sent-events": [b"data: a\ndata: b\n\n: c\r\n\r\nevent: x\rdata:{}\r\r"],
    "journal-frames": [encode_batch(1, [b"a", b"bc"]) + encode_batch(3, [b""])],
    "gguf-header": [_GGUF],
    "proxy-protocol": [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes(range(12))],
    "http1": [b"\xff" + _REQUESTS, b"\0" + _REQUESTS],
}  # fmt: skip
