"""One function a decoder: it takes any bytes, and raises only where the decoder broke its word.

The word is the same for all: what comes from outside is decoded or refused with an `AirserveError` below 500.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from airserve.codecs.compression import inflate
from airserve.codecs.frame import decode
from airserve.codecs.server_sent_events import take_events
from airserve.codecs.tensors import from_raw
from airserve.core.errors import AirserveError
from airserve.core.tensor import NUMPY_OF, Signature, TensorSpec
from airserve.metering.journal_format import scan
from airserve.models.gguf_header import read_header
from airserve.models.manifest import Manifest, Tensor
from airserve.protocols import open_inference as rest
from airserve.protocols import open_inference_grpc as rpc
from airserve.protocols import openai, plain
from airserve.protocols.encoded import Encoded
from airserve.protocols.open_inference import generation_of
from airserve.protocols.protos.open_inference_pb import ModelInferRequest
from airserve.server.http import Request
from airserve.server.http1 import Http1Server
from airserve.server.proxy_protocol import read_head

LIMIT = 1 << 20
SIGNATURE = Signature(
    (TensorSpec("x", "FP32", (-1, 4)), TensorSpec("text", "BYTES", (-1, 1)), TensorSpec("n", "INT64", (-1, -1))),
    (TensorSpec("y", "FP32", (-1, 4)),),
    64,
)
ONE = Signature((TensorSpec("x", "FP32", (-1, 4)),), (TensorSpec("y", "FP32", (-1, 4)),), 64)
MANIFEST = Manifest(
    name="m", engine="onnx", inputs=(Tensor("x", "FP32", (-1, 4)),), outputs=(Tensor("y", "FP32", (-1, 4)),)
)  # fmt: skip
TEXTS = Manifest(
    name="m", engine="onnx", inputs=(Tensor("x", "BYTES", (-1,)),), outputs=(Tensor("y", "BYTES", (-1,)),)
)  # fmt: skip

Target = Callable[[bytes], None]


@contextmanager
def refused_at_most() -> Iterator[None]:
    """What is raised inside is a refusal with a sentence, and no fault of the server's."""
    try:
        yield
    except AirserveError as error:
        assert error.http_status < 500 or error.http_status == 501, error
        assert error.message
        assert len(error.message) < 2000, error.message[:200]


def infer_json(data: bytes) -> None:
    for signature in (ONE, SIGNATURE):
        with refused_at_most():
            asked = rest.decode_infer("m", signature, {}, data, max_bytes=LIMIT)
            assert asked.inputs.keys() == {spec.name for spec in signature.inputs}
            assert all(spec.accepts(asked.inputs[spec.name].shape) for spec in signature.inputs)


def infer_binary(data: bytes) -> None:
    """The first two bytes say how long the JSON is."""
    length = int.from_bytes(data[:2], "big")
    for signature in (ONE, SIGNATURE):
        with refused_at_most():
            headers = {b"inference-header-content-length": b"%d" % length}
            rest.decode_infer("m", signature, headers, memoryview(data)[2:], max_bytes=LIMIT)


def infer_header(data: bytes) -> None:
    """The headers of an infer request: a line each of length, coding and accepted coding."""
    values = [*data.split(b"\n"), b"", b""]
    names = (b"inference-header-content-length", b"content-encoding", b"accept-encoding")
    with refused_at_most():
        rest.decode_infer("m", ONE, dict(zip(names, values, strict=False)), b"{}", max_bytes=LIMIT)


def generate(data: bytes) -> None:
    with refused_at_most():
        asked = rest.decode_generate({}, data, max_bytes=LIMIT)
        with refused_at_most():
            rest.decode_infer("m", SIGNATURE, {}, rest.tensors_of(asked, SIGNATURE), max_bytes=LIMIT)
        generation_of(asked, "m", stream=True)


def openai_documents(data: bytes) -> None:
    with refused_at_most():
        document = openai.read_document({}, data, max_bytes=LIMIT)
        for decode in (openai.decode_chat, openai.decode_completion, openai.decode_embeddings):
            with refused_at_most():
                decode(document)


def plain_rows(data: bytes) -> None:
    for manifest in (MANIFEST, TEXTS):
        with refused_at_most():
            plain.decode(manifest, {b"content-type": b"application/json"}, data, max_bytes=LIMIT)


def plain_npy(data: bytes) -> None:
    with refused_at_most():
        plain.decode(MANIFEST, {b"content-type": b"application/x-npy"}, data, max_bytes=LIMIT)


def plain_headers(data: bytes) -> None:
    """Content-Type, Accept and Content-Encoding, a line each, of a body of rows."""
    values = [*data.split(b"\n"), b"", b""]
    names = (b"content-type", b"accept", b"content-encoding")
    with refused_at_most():
        plain.decode(MANIFEST, dict(zip(names, values, strict=False)), b"[[1,2,3,4]]", max_bytes=LIMIT)


def grpc_messages(data: bytes) -> None:
    try:
        message = ModelInferRequest.from_binary(data)
    except Exception:  # the library's own; the server answers it with INVALID_ARGUMENT
        return
    for signature in (ONE, SIGNATURE):
        with refused_at_most():
            rpc.decode_infer("m", signature, message, max_bytes=LIMIT)
    with refused_at_most():
        generation_of(rpc.decode_generate("m", message), "m", stream=True)


def raw_tensors(data: bytes) -> None:
    """The first two bytes choose datatype and rows."""
    datatypes = list(NUMPY_OF)
    datatype, rows = datatypes[data[0] % len(datatypes)] if data else "BYTES", data[1] if len(data) > 1 else 0
    with refused_at_most():
        assert from_raw(data[2:], datatype, [rows, 1], "x").shape == (rows, 1)


def compression(data: bytes) -> None:
    for coding in ("gzip", "deflate"):
        with refused_at_most():
            assert len(inflate(data, coding, LIMIT)) <= LIMIT


def coded_frames(data: bytes) -> None:
    """Once as it is, and once with the checksum that who means harm would compute."""
    for frame in (data, data[:-4] + zlib.crc32(data[:-4]).to_bytes(4, "little")):
        with refused_at_most():
            assert decode(frame, max_bytes=LIMIT).nbytes <= LIMIT


def server_sent_events(data: bytes) -> None:
    """Where the bytes are cut makes no difference."""
    whole, rest_of_whole = take_events(data)
    first, kept = take_events(data[: len(data) // 2])
    second, rest_of_parts = take_events(kept + data[len(data) // 2 :])
    assert first + second == whole
    assert rest_of_parts == rest_of_whole


def journal_frames(data: bytes) -> None:
    found = scan(data, 1)
    assert 0 <= found.end <= found.bad <= len(data)
    assert [frame.lsn for frame in found.frames] == list(range(1, len(found.frames) + 1))


_FOLDER = tempfile.TemporaryDirectory(prefix="fuzz-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)


def gguf_header(data: bytes) -> None:
    path = Path(_FOLDER.name) / f"{os.getpid()}.gguf"
    path.write_bytes(data)
    with refused_at_most():
        read_header(path)


def proxy_protocol(data: bytes) -> None:
    with refused_at_most():
        found = read_head(data)
        assert found is None or found.length <= len(data)


class _Pipe(asyncio.Transport):
    """The other end of a connection, in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True


async def _echo(request: Request) -> Encoded:
    try:
        return Encoded(200, [], [await request.read(LIMIT)])
    except AirserveError as error:
        return rest.render_error(error)


async def _connection(data: bytes) -> None:
    """The first byte says into how large pieces the network cuts what follows."""
    server = Http1Server(_echo)
    protocol = server.connection()
    pipe = _Pipe()
    protocol.connection_made(pipe)
    data, size = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0" + data[1:], 1 + (data[0] if data else 0)
    while data and not pipe.closed:
        buffer = protocol.get_buffer(-1)
        piece = data[: min(size * 7, len(buffer))]
        buffer[: len(piece)] = piece
        protocol.buffer_updated(len(piece))
        data = data[len(piece) :]
        await asyncio.sleep(0)
    for _ in range(5):
        await asyncio.sleep(0)
    protocol.connection_lost(None)
    server.close()
    await asyncio.sleep(0)
    for line in pipe.written.split(b"HTTP/1.1 ")[1:]:
        assert line[:1] != b"5", line[:200]


_loop = asyncio.new_event_loop()
_failures: list[BaseException] = []
_loop.set_exception_handler(lambda loop, context: _failures.append(context.get("exception") or Exception(str(context))))


def http1(data: bytes) -> None:
    _failures.clear()
    _loop.run_until_complete(_connection(data))
    assert not _failures, _failures


TARGETS: dict[str, Target] = {
    target.__name__.replace("_", "-"): target
    for target in (
        infer_json, infer_binary, infer_header, generate, openai_documents, plain_rows, plain_npy, plain_headers,
        grpc_messages, raw_tensors, coded_frames, compression, server_sent_events, journal_frames, gguf_header,
        proxy_protocol, http1,
    )
}  # fmt: skip
