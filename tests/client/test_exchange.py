from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from airserve.client.exchange import Attempts, HttpResponse, check_url, infer_request, parse_outputs, raise_for, timings
from airserve.core.call import Reply
from airserve.core.errors import (
    AirserveError,
    DeadlineExceededError,
    InvalidInputError,
    NotFoundError,
    OverloadedError,
    UnreachableError,
)
from airserve.core.tensor import NUMPY_OF, Signature, TensorSpec
from airserve.protocols import open_inference as server

NUMBERS = [name for name in NUMPY_OF if name != "BYTES"]


@given(st.sampled_from(NUMBERS), arrays.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=4), st.data())
def test_what_the_client_sends_the_server_reads_and_what_that_answers_the_client_reads(
    datatype: str, shape: tuple[int, ...], data: st.DataObject
) -> None:
    array = data.draw(arrays.arrays(NUMPY_OF[datatype], shape))
    request = infer_request("m", {"x": array}, version=None, outputs=None, call_id="c")
    spec = TensorSpec("x", datatype, (-1,) * len(shape))
    headers = {name.encode(): value.encode() for name, value in request.headers.items()}
    decoded = server.decode_infer("m", Signature((spec,), (spec,)), headers, request.body, max_bytes=1 << 20)
    assert decoded.inputs["x"].tobytes() == array.tobytes()
    encoded = server.encode_infer(decoded, Reply("m", "1", {"x": array}))
    body = b"".join(bytes(chunk) for chunk in encoded.chunks)
    answer = HttpResponse(200, {name.decode(): value.decode() for name, value in encoded.headers}, body)
    back = parse_outputs(answer)["x"]
    assert back.dtype == NUMPY_OF[datatype]
    assert back.shape == shape
    assert back.tobytes() == array.tobytes()


def test_text_becomes_bytes_and_plain_numbers_fp32() -> None:
    request = infer_request("a b/c", {"s": ["é", "x"], "n": [1.5, 2]}, version="3", outputs=["y"], call_id="c")
    assert request.path == "/v2/models/a%20b%2Fc/versions/3/infer"
    head = json.loads(request.body[: int(request.headers["inference-header-content-length"])])
    assert [each["datatype"] for each in head["inputs"]] == ["BYTES", "FP32"]
    assert head["outputs"] == [{"name": "y", "parameters": {"binary_data": True}}]
    assert request.body.endswith(b"\x02\x00\x00\x00\xc3\xa9\x01\x00\x00\x00x" + np.float32([1.5, 2]).tobytes())


def test_a_refusal_comes_back_as_its_class() -> None:
    body = b'{"error": "come back", "code": "overloaded"}'
    with pytest.raises(OverloadedError, match="come back") as refusal:
        raise_for(HttpResponse(503, {"retry-after": "7"}, body))
    assert refusal.value.retry_after == 7
    with pytest.raises(NotFoundError):
        raise_for(HttpResponse(404, {}, b"<html>"))
    with pytest.raises(AirserveError, match="HTTP 502"):
        raise_for(HttpResponse(502, {}, b"bad gateway"))


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b'{"outputs": 3}', b'{"outputs": [{}]}', b"[1]"])
def test_an_answer_that_is_none_of_the_protocol_is_said_to_be_so(body: bytes) -> None:
    with pytest.raises(AirserveError):
        parse_outputs(HttpResponse(200, {}, body))


def test_timings_are_read_from_the_headers() -> None:
    headers = {"server-timing": "queue;dur=0.5, compute;dur=1.25, total;dur=2", "airserve-batch-rows": "9"}
    read = timings(HttpResponse(200, headers, b""), round_trip_s=0.004, attempts=2)
    assert (read.queue_ms, read.compute_ms, read.total_ms, read.round_trip_ms) == (0.5, 1.25, 2.0, 4.0)
    assert (read.batch_rows, read.attempts) == (9, 2)


@given(st.floats(0, 1), st.integers(1, 6))
def test_pauses_grow_stay_random_and_keep_to_what_the_service_asks(draw: float, made: int) -> None:
    attempts = Attempts(deadline=None, retries=10)
    attempts.made = made
    assert 0 <= attempts.pause(UnreachableError("x"), 0, draw) <= min(2.0, 0.05 * 2**made)
    assert attempts.pause(OverloadedError("x", retry_after=3), 0, draw) >= 3


def test_there_is_no_attempt_after_the_last_one_after_the_deadline_or_after_a_final_answer() -> None:
    attempts = Attempts(deadline=10.0, retries=1)
    attempts.made = 1
    assert attempts.pause(UnreachableError("x"), 1.0, 0.5) < 2
    with pytest.raises(UnreachableError):
        attempts.pause(UnreachableError("x"), 9.999, 1.0)
    with pytest.raises(OverloadedError):
        attempts.pause(OverloadedError("x", retry_after=60), 1.0, 0.5)
    with pytest.raises(InvalidInputError):
        attempts.pause(InvalidInputError("x"), 1.0, 0.5)
    attempts.made = 2
    with pytest.raises(UnreachableError):
        attempts.pause(UnreachableError("x"), 1.0, 0.5)
    assert attempts.remaining_ms(9.0) == 1000
    with pytest.raises(DeadlineExceededError):
        attempts.remaining_ms(10.0)


@pytest.mark.parametrize(("url", "http"), [("ftp://x", "auto"), ("x", "auto"), ("http://x", "3"), ("https://x", "4")])
def test_urls_that_cannot_work_are_refused(url: str, http: str) -> None:
    with pytest.raises(InvalidInputError):
        check_url(url, http)
