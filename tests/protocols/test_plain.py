from __future__ import annotations

import contextlib
import io
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from airserve.core.call import Array, Reply
from airserve.core.errors import (
    AirserveError,
    InvalidInputError,
    MethodNotAllowedError,
    NotAcceptableError,
    NotFoundError,
    UnsupportedEncodingError,
)
from airserve.engines.options import Text, Vision
from airserve.models.manifest import Manifest, Tensor, Variant
from airserve.models.steps import text_signature, vision_signature
from airserve.protocols import plain
from airserve.protocols.plain.media import Form, accepted, form_of
from airserve.protocols.plain.npy import read_npy, write_npy
from airserve.protocols.plain.rows import plain_name

COLUMNS = ("sepal length (cm)", "sepal width (cm)")


def manifest(inputs: Any, outputs: Any = (("y", "FP32", (-1, 2)),), **fields: Any) -> Manifest:
    return Manifest(
        name="m",
        engine="onnx",
        inputs=tuple(Tensor(*each) for each in inputs),
        outputs=tuple(Tensor(*each) for each in outputs),
        variants=(Variant("a", "a", 1),),
        **{"max_batch": 8, **fields},
    )


def step(signature: Any, **fields: Any) -> Manifest:
    takes, gives = ([(spec.name, spec.datatype, spec.shape) for spec in specs] for specs in signature)
    return manifest(takes, gives, **fields)


FLOWERS = manifest([("x", "FP32", (-1, 2))], columns=COLUMNS)
PICTURES = step(vision_signature(2), vision=Vision(size=8, resize=8, top_k=2), labels=("cat", "dog"))
TEXTS = step(text_signature(3), text=Text())
TWO = manifest([("a", "FP32", (-1, 1)), ("b", "INT64", (-1, 2))])
FIXED = manifest([("x", "FP32", (3,))], max_batch=0)
PNG = b"\x89PNG\r\n\x1a\n" + b"rest"


def ask(model: Manifest, body: Any, content_type: str = "application/json", accept: str = "") -> plain.PlainRequest:
    headers = {b"content-type": content_type.encode(), b"accept": accept.encode()}
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    return plain.decode(model, headers, body, max_bytes=1 << 20)


def npy(array: Array) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


# Rows


@pytest.mark.parametrize(
    ("body", "alone"),
    [
        ([[5.1, 3.5]], False),
        ([5.1, 3.5], True),
        ({"inputs": [[5.1, 3.5]]}, False),
        ({"inputs": {"x": [[5.1, 3.5]]}}, False),
        ({"inputs": {"x": [5.1, 3.5]}}, True),
        ({"x": [5.1, 3.5]}, True),
        ([{"x": [5.1, 3.5]}], False),
        ([{"sepal_length": 5.1, "sepal_width": 3.5}], False),
        ([{"sepal width (cm)": 3.5, "sepal_length": 5.1}], False),
        ({"sepal_length": 5.1, "sepal_width": 3.5}, True),
    ],
)
def test_a_row_may_be_written_in_many_ways(body: Any, alone: bool) -> None:
    asked = ask(FLOWERS, body)
    np.testing.assert_array_equal(asked.inputs["x"], np.array([[5.1, 3.5]], np.float32))
    assert asked.inputs["x"].dtype == np.float32 and (asked.rows, asked.alone) == (1, alone)


def test_rows_of_several_inputs_are_objects_by_their_names() -> None:
    asked = ask(TWO, [{"a": 1, "b": [1, 2]}, {"a": [2.5], "b": [3, 4]}])
    assert asked.inputs["a"].tolist() == [[1], [2.5]] and asked.inputs["b"].tolist() == [[1, 2], [3, 4]]
    assert asked.inputs["b"].dtype == np.int64 and (asked.rows, asked.alone) == (2, False)


def test_a_model_that_does_not_batch_takes_its_tensor_as_it_is() -> None:
    asked = ask(FIXED, [1, 2, 3])
    assert asked.inputs["x"].shape == (3,) and asked.rows == 1


@pytest.mark.parametrize(
    ("model", "body", "words"),
    [
        (FLOWERS, b"[[1, 2]", "no JSON"),
        (FLOWERS, b"[" * 100_000, "nested too deeply"),
        (FLOWERS, [[1, 2], [3]], "ragged"),
        (FLOWERS, [[1, 2, 3]], r"Expected \[-1,2\], got \[1,3\]"),
        (FLOWERS, [], "shape|batch-size"),
        (FLOWERS, [[1, 2]] * 9, "batch-size must be <= 8"),
        (FLOWERS, [["a", "b"]], "takes numbers"),
        (FLOWERS, [[1, None]], "only numbers"),
        (FLOWERS, [[1, 2**70]], "only numbers"),
        (FLOWERS, [[1, 1e300]], "does not fit into FP32"),
        (FLOWERS, {"sepal_length": 1}, "missing: sepal width"),
        (FLOWERS, [{"sepal_length": 1, "sepal_width": 2, "colour": 3}], "row 0 are not known: colour"),
        (FLOWERS, [{"x": [1, 2]}, {"y": [1, 2]}], "row 1 are missing: x"),
        (TWO, [[1, 2]], "the inputs a, b"),
        (TWO, [{"a": 1, "b": [1.5, 2]}], "'b' does not fit into INT64"),
        (TWO, {"inputs": {"a": [[1]], "b": [[1, 2], [3, 4]]}}, "different batch sizes"),
        (TEXTS, [1, 2], "takes texts"),
        (TEXTS, [["a"], []], "ragged|takes texts"),
        (FIXED, [1, 2], r"Expected \[3\]"),
    ],
)
def test_rows_that_do_not_fit_are_refused_with_why(model: Manifest, body: Any, words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        ask(model, body)


def test_columns_with_one_plain_name_need_their_whole_names() -> None:
    model = manifest([("x", "FP32", (-1, 2))], columns=("size (cm)", "size (kg)"))
    assert plain_name("size (cm)") == plain_name("size (kg)") == "size"
    with pytest.raises(InvalidInputError, match="not known: size"):
        ask(model, [{"size": 1, "size (kg)": 2}])
    assert ask(model, [{"size (kg)": 2, "size (cm)": 1}]).inputs["x"].tolist() == [[1, 2]]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.just("inputs"), inner, max_size=3),
        max_leaves=12,
    )
)
def test_any_json_is_taken_or_refused(body: Any) -> None:
    for model in (FLOWERS, TWO, TEXTS, FIXED, PICTURES):
        try:
            asked = ask(model, body)
        except AirserveError as error:
            assert error.http_status in (400, 415)
        else:
            assert asked.inputs.keys() == {each.name for each in model.inputs}


# Pictures and texts


def test_a_picture_is_known_by_its_type_or_by_its_first_bytes() -> None:
    for content_type in (
        "image/png",
        "image/jpeg",
        "application/octet-stream",
        "application/x-www-form-urlencoded",
        "",
    ):
        asked = ask(PICTURES, PNG, content_type)
        assert asked.inputs["image"].tolist() == [PNG] and (asked.rows, asked.alone) == (1, True)


def test_a_text_is_one_row_and_a_list_of_texts_many() -> None:
    for content_type in ("text/plain", "text/plain; charset=UTF-8", "application/x-www-form-urlencoded", ""):
        asked = ask(TEXTS, "ein Café".encode(), content_type)
        assert asked.inputs["text"].tolist() == ["ein Café".encode()] and asked.alone
    asked = ask(TEXTS, ["a", "b c"])
    assert asked.inputs["text"].tolist() == [b"a", b"b c"] and (asked.rows, asked.alone) == (2, False)
    assert ask(TEXTS, "a").alone
    with pytest.raises(InvalidInputError, match="UTF-8"):
        ask(TEXTS, b"\xff\xfe", "text/plain")


@pytest.mark.parametrize(
    ("model", "body", "content_type", "words"),
    [
        (FLOWERS, PNG, "image/png", "takes no pictures; send it JSON rows"),
        (FLOWERS, b"hello", "text/plain", "takes no text; send it JSON rows"),
        (FLOWERS, b"hello", "", "cannot be told from its first bytes"),
        (TEXTS, PNG, "", "takes no pictures; send it text/plain"),
        (PICTURES, b"hello", "text/plain", "takes no text; send it a picture"),
        (PICTURES, PNG, "multipart/form-data; boundary=x", "--data-binary"),
        (PICTURES, PNG, "video/mp4", "'video/mp4' is not taken"),
        (TEXTS, b"hello", "text/plain; charset=latin-1", "charset 'latin-1'"),
        (TWO, npy(np.zeros((1, 2))), "application/x-npy", "one input, and 'm' has a, b"),
    ],
)
def test_what_the_model_does_not_take_is_415_with_what_to_send(
    model: Manifest, body: bytes, content_type: str, words: str
) -> None:
    with pytest.raises(UnsupportedEncodingError, match=words):
        ask(model, body, content_type)


def test_the_form_of_a_body_is_told_by_its_beginning() -> None:
    for body, form in [(b" \n[1]", Form.JSON), (b'{"a": 1}', Form.JSON), (npy(np.zeros(1)), Form.NPY),
                       (b"\xff\xd8\xff\xe0", Form.PICTURE), (b"RIFF0000WEBPVP8 ", Form.PICTURE)]:  # fmt: skip
        assert form_of(b"", body, takes_text=False) is form
    assert form_of(b"application/vnd.api+json", b"", takes_text=False) is Form.JSON


# .npy files


ARRAYS = npst.arrays(
    st.sampled_from(["?", "i1", "<u2", ">i4", "<i8", "<f2", ">f4", "<f8", "S3", "<U2"]),
    npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
)


@given(ARRAYS, st.booleans(), st.sampled_from([1, 2, 3]))
def test_an_array_is_read_as_numpy_wrote_it(array: Array, column_major: bool, version: int) -> None:
    array = np.asfortranarray(array) if column_major else array
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version=(version, 0))
    got = read_npy(file.getvalue())
    assert got.dtype == array.dtype
    np.testing.assert_array_equal(got, array)
    np.testing.assert_array_equal(np.load(io.BytesIO(write_npy(array))), array)


def header(text: str, data: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + data


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"\x93NUMPY", "no .npy file"),
        (b"\x93NUMPY\x04\x00\x00\x00\x00\x00", "no .npy file"),
        (b"\x93NUMPY\x01\x00\xff\xff{", "cut off or too long"),
        (header("{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", b"1234"), "needs 8"),
        (header("{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", b"1" * 9), "needs 8"),
        (header("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999,)}"), "element count"),
        (header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}"), "negative"),
        (header("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", b"12345678"), "pickled"),
        (header("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}", b"1234"), "cannot be read"),
        (header("{'descr': '<f4', 'fortran_order': 0, 'shape': (1,)}", b"1234"), "cannot be read"),
        (header("{'descr': '<f4', 'fortran_order': False, 'shape': [1]}", b"1234"), "cannot be read"),
        (header("{'descr': '<f4', 'fortran_order': False}"), "cannot be read"),
        (header("__import__('os').abort()"), "cannot be read"),
        (header("(" * 4000), "cannot be read"),
        (header("-" * 4000 + "1"), "cannot be read"),
        (npy(np.array([{"a": 1}], dtype=object)), "pickled"),
        (npy(np.zeros(2, "datetime64[s]")), "not taken"),
        (header("{'descr': '|S0', 'fortran_order': False, 'shape': (9,)}"), "not taken"),
    ],
)  # fmt: skip
def test_a_file_that_claims_or_hides_something_is_refused(body: bytes, words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        read_npy(body)


@given(st.binary(max_size=120))
def test_any_bytes_behind_the_magic_are_an_array_or_a_refusal(data: bytes) -> None:
    with contextlib.suppress(InvalidInputError):
        assert read_npy(b"\x93NUMPY" + data).nbytes <= len(data)


def test_an_array_takes_the_dtype_of_the_model_where_nothing_is_lost() -> None:
    for array in (np.array([[6, 3]]), np.array([[6.0, 3.0]]), np.array([6, 3], np.uint8)):
        assert ask(FLOWERS, npy(array), "").inputs["x"].tolist() == [[6, 3]]
    with pytest.raises(InvalidInputError, match="takes numbers"):
        ask(FLOWERS, npy(np.array([["a", "b"]])), "application/x-npy")
    assert ask(TEXTS, npy(np.array(["ab", "c"])), "").inputs["text"].tolist() == [b"ab", b"c"]


# Answers


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", Form.JSON),
        ("*/*", Form.JSON),
        ("text/*", Form.TEXT),
        ("text/plain", Form.TEXT),
        ("application/x-npy;q=0.5, text/plain; q=0.4", Form.NPY),
        ("application/json;q=0, */*;q=0.1", Form.TEXT),
        ("text/html, application/*;q=0.9", Form.JSON),
        ("nonsense", Form.JSON),
    ],
)
def test_the_answer_has_the_form_that_is_accepted(accept: str, form: Form) -> None:
    assert accepted(accept.encode()) is form


@pytest.mark.parametrize("accept", ["image/png", "text/html, image/*", "*/*;q=0", "application/json;q=0"])
def test_a_form_that_no_answer_has_is_406(accept: str) -> None:
    with pytest.raises(NotAcceptableError, match="application/json, text/plain, application/x-npy"):
        accepted(accept.encode())


def texts(*given: Any) -> Array:
    array = np.empty(np.shape(given), dtype=object)
    array[...] = given
    return array


def answer(model: Manifest, asked: plain.PlainRequest, **outputs: Array) -> bytes:
    encoded = plain.encode(model, asked, Reply("m", "1", outputs), [(b"x-request-id", b"7")])
    assert encoded.status == 200 and (b"x-request-id", b"7") in encoded.headers
    return bytes(encoded.chunks[0])


LABELS = {
    "label": texts([b"cat", b"dog"]),
    "probability": np.array([[0.75, 0.25]], np.float32),
    "index": np.array([[0, 1]], np.int32),
}
NUMBERS = {"y": np.array([[1, 2.5]], np.float32), "kind": texts(b"a")}


def test_a_picture_is_answered_with_its_labels() -> None:
    assert json.loads(answer(PICTURES, ask(PICTURES, PNG, ""), **LABELS)) == [
        {"label": "cat", "probability": 0.75},
        {"label": "dog", "probability": 0.25},
    ]
    assert answer(PICTURES, ask(PICTURES, PNG, "", "text/plain"), **LABELS) == b"0.7500\tcat\n0.2500\tdog\n"
    array = read_npy(answer(PICTURES, ask(PICTURES, PNG, "", "application/x-npy"), **LABELS))
    assert array.tolist() == [0.75, 0.25]


def test_rows_are_answered_by_rows_and_one_alone_alone() -> None:
    assert json.loads(answer(FLOWERS, ask(FLOWERS, [[1, 2]]), **NUMBERS)) == [{"y": [1, 2.5], "kind": "a"}]
    assert json.loads(answer(FLOWERS, ask(FLOWERS, [1, 2]), **NUMBERS)) == {"y": [1, 2.5], "kind": "a"}
    assert answer(FLOWERS, ask(FLOWERS, [1, 2], accept="text/plain"), **NUMBERS) == b"1 2.5\ta\n"
    assert read_npy(answer(FLOWERS, ask(FLOWERS, [[1, 2]], accept="application/x-npy"), **NUMBERS)).shape == (1, 2)


def test_a_model_that_does_not_batch_answers_with_its_outputs() -> None:
    outputs = {"y": np.array(3.0, np.float32), "z": np.array([1, 2])}
    assert json.loads(answer(FIXED, ask(FIXED, [1, 2, 3]), **outputs)) == {"y": 3, "z": [1, 2]}
    assert answer(FIXED, ask(FIXED, [1, 2, 3], accept="text/plain"), **outputs) == b"y\t3\nz\t1 2\n"


def test_what_is_no_number_becomes_null_and_texts_are_no_npy() -> None:
    assert b"null" in answer(FLOWERS, ask(FLOWERS, [1, 2]), y=np.array([[np.nan, 1]], np.float32))
    with pytest.raises(NotAcceptableError, match="gives texts"):
        answer(FLOWERS, ask(FLOWERS, [1, 2], accept="application/x-npy"), kind=texts(b"a"))


# Routes and descriptions


def test_a_path_names_a_model_and_perhaps_a_version() -> None:
    assert plain.match("POST", "/models/m@canary").model == "m@canary"
    route = plain.match("POST", "/models/m/versions/3?x=1")
    assert (route.model, route.version, route.operation) == ("m", "3", plain.Operation.CALL)
    assert plain.match("GET", "/models/a%2Fb").model == "a/b"
    assert plain.match("GET", "/models").operation is plain.Operation.LIST
    for path in ("/models/m/infer", "/models/m/versions", "/models/m/versions/1/2"):
        with pytest.raises(NotFoundError):
            plain.match("POST", path)
    for method, path in (("POST", "/models"), ("DELETE", "/models/m")):
        with pytest.raises(MethodNotAllowedError):
            plain.match(method, path)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (FLOWERS, '[{"sepal_length": 0, "sepal_width": 0}]'),
        (PICTURES, "--data-binary @picture.jpg"),
        (TEXTS, "text/plain"),
        (TWO, '"b"'),
    ],
)
def test_a_description_shows_a_call_to_copy(model: Manifest, words: str) -> None:
    document = json.loads(plain.describe(model, "m", 2, generates=False).chunks[0])
    assert words in document["example"] and "$AIRSERVE_URL/models/m" in document["example"]
    assert document["version"] == 2 and len(document["inputs"]) == len(model.inputs)
