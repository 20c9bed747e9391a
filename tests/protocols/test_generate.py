from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airserve.core.call import Reply
from airserve.core.errors import AirserveError, InvalidInputError
from airserve.core.generation import Piece
from airserve.core.tensor import Signature, TensorSpec
from airserve.protocols.open_inference import (
    Answers,
    GenerateRequest,
    decode_generate,
    decode_infer,
    generation_of,
    tensors_of,
)


def decode(document: Any) -> GenerateRequest:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return decode_generate({}, body, max_bytes=10_000)


def test_parameters_may_stand_inside_or_beside() -> None:
    asked = decode({"id": "i", "text_input": "Once", "parameters": {"temperature": 0, "timeout": 7}, "stop": ["."]})
    generation = generation_of(asked, "m", stream=False)
    assert not generation.chat
    assert generation.parameters == {"prompt": "Once", "temperature": 0, "stop": ["."], "max_tokens": 20}
    assert asked.timeout_us == 7
    assert generation_of(decode({"text_input": "a", "max_tokens": 3}), "m", stream=True).parameters["max_tokens"] == 3


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({}, "'text_input'"),
        ({"text_input": 7}, "'text_input'"),
        ({"text_input": "a", "parameters": {"stream": True}}, "exactly 1 response"),
        ({"text_input": "a", "n": 2}, "'n' is 1"),
        ({"text_input": "a", "warmth": 2}, "warmth"),
        ({"text_input": "a", "temperature": 9}, "temperature"),
        ({"text_input": "a", "parameters": {"triton_x": 1}}, "reserved"),
    ],
)
def test_what_cannot_be_generated_is_named(document: Any, words: str) -> None:
    with pytest.raises(InvalidInputError) as error:
        generation_of(decode(document), "m", stream=False)
    assert words in error.value.message


def piece(text: str, reason: str | None = None) -> Piece:
    return Piece([{"index": 0, "text": text, "finish_reason": reason}], final=reason is not None)


def test_pieces_become_one_answer_or_one_event_each() -> None:
    plain, detailed = (decode({"text_input": "a", "parameters": {"details": flag}}) for flag in (False, True))
    answers = Answers(plain, "m", "2")
    for each in (piece("Once "), piece("more"), piece("", "length")):
        answers.add(each)
    assert answers.whole() == {"model_name": "m", "model_version": "2", "text_output": "Once more"}
    assert answers.event(piece("x")) == b'data: {"model_name":"m","model_version":"2","text_output":"x"}\n\n'
    assert answers.event(piece("", "stop")) == b""
    event = Answers(detailed, "m", "2").event(piece("", "stop"))
    assert json.loads(event.removeprefix(b"data: "))["details"] == {"finish_reason": "stop"}


BOTH = Signature(
    (TensorSpec("words", "BYTES", (-1,)), TensorSpec("x", "FP32", (-1, 2))), (TensorSpec("y", "FP32", (-1,)),), 8
)


def test_inputs_of_a_model_of_tensors_go_by_their_names() -> None:
    text = tensors_of(decode({"text_input": "é", "x": [1, 2]}), BOTH)
    request = decode_infer("m", BOTH, {}, text, max_bytes=1000)
    assert request.inputs["words"].tolist() == ["é".encode()]
    assert request.inputs["x"].tolist() == [[1, 2]]
    reply = Reply("m", "2", {"y": np.float32([0.5]), "z": np.array([b"\xc3\xa9", b"b"], object)})
    document = Answers(decode({"id": "i"}), "m", "2").tensors(reply)
    assert document == {"id": "i", "model_name": "m", "model_version": "2", "y": 0.5, "z": ["é", "b"]}
    with pytest.raises(InvalidInputError, match="unexpected inference input 'z'"):
        tensors_of(decode({"z": 1}), BOTH)
    with pytest.raises(InvalidInputError, match="UTF-8"):
        Answers(decode({}), "m", "2").tensors(Reply("m", "2", {"z": np.array([b"\xff"], object)}))


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.binary(max_size=60)
    | st.dictionaries(st.sampled_from(["id", "text_input", "parameters", "x", "words", "stop", "n"]), _json)
)
def test_no_request_raises_anything_but_a_refusal(document: Any) -> None:
    for use in (
        lambda asked: generation_of(asked, "m", stream=True),
        lambda asked: decode_infer("m", BOTH, {}, tensors_of(asked, BOTH), max_bytes=1000),
    ):
        try:
            use(decode(document))
        except AirserveError as error:
            assert 400 <= error.http_status < 500
