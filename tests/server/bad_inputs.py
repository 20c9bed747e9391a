"""The table of bad inputs: what a hostile or broken client sends, and what it is answered. Rows as in docs/threats.md.

Where the answer differs from the common threat table, a protocol's clients decide, and `because` says so.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

CANARY = "canary-6f1d0c5e93"
"""Stands in what is sent wherever a text can, and must be nowhere but in answers to its sender."""

JSON = {"content-type": "application/json"}
V2 = "/v2/models/linear/infer"
INT64 = "/v2/models/failing/infer"
PLAIN = "/models/linear"
CHAT = "/v1/chat/completions"
EMBED = "/v1/embeddings"
GENERATE = "/v2/models/linear/generate"
DOCUMENTS = (V2, GENERATE, PLAIN, CHAT, EMBED)
"""One route of each protocol that takes JSON."""


@dataclass(frozen=True)
class Case:
    """One request, the status and the words of its refusal; `row` of the table. `key` None sends none."""

    row: int
    what: str
    status: int
    words: str
    path: str = V2
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=lambda: dict(JSON))
    method: str = "POST"
    key: str | None = "tenant"
    because: str = ""


def tensor(**changes: Any) -> dict[str, Any]:
    return {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4], **changes}


def v2(row: int, what: str, words: str, *, status: int = 400, because: str = "", **changes: Any) -> Case:
    """One bad input tensor in a good request."""
    body = json.dumps({"id": CANARY, "inputs": [tensor(**changes)]}).encode()
    return Case(row, what, status, words, body=body, because=because)


def document(row: int, what: str, words: str, value: Any, path: str = V2, status: int = 400) -> Case:
    return Case(row, what, status, words, path, value if isinstance(value, bytes) else json.dumps(value).encode())


def everywhere(row: int, what: str, body: bytes, **words: str) -> list[Case]:
    """The same bytes to every protocol; `words` by the last word of its route, else `rest`."""
    return [
        Case(row, what, 400, words.get(path.rpartition("/")[2].partition("_")[0], words["rest"]), path, body)
        for path in DOCUMENTS
    ]


def binary(row: int, what: str, words: str, size: Any, tail: bytes, length: str | None = None) -> Case:
    """A binary request; `length` replaces what it says of its JSON."""
    text = json.dumps({"id": CANARY, "inputs": [tensor(parameters={"binary_data_size": size}) | {"data": None}]})
    headers = {"inference-header-content-length": str(len(text)) if length is None else length}
    return Case(row, what, 400, words, body=text.encode() + tail, headers=headers)


def coded(row: int, what: str, coding: str, body: bytes, words: str, status: int) -> list[Case]:
    return [
        Case(row, what, status, words, path, body, {**JSON, "content-encoding": coding})
        for path in (V2, GENERATE, PLAIN, CHAT)
    ]


def chat(row: int, what: str, words: str, **changes: Any) -> Case:
    asked = {"model": "nobody", "messages": [{"role": "user", "content": CANARY}], **changes}
    return document(row, what, words, asked, CHAT)


GOOD = json.dumps({"inputs": [tensor()]}).encode()
MANY_KEYS = {f"k{number}": 1 for number in range(50_000)}
BOMB = gzip.compress(b" " * 30_000_000)
TWICE = (
    b'{"id":"a","id":"b","inputs":[{"name":"x","datatype":"FP32","shape":[1,4],"data":[1,2,3,4]}]}',
    b'{"inputs":[],"inputs":[{"name":"x","datatype":"FP32","shape":[1,4],"data":[1,2,3,4]}]}',
    b'{"inputs":[{"name":"y","name":"x","datatype":"FP32","shape":[1,4],"data":[1,2,3,4]}]}',
    b'{"inputs":[{"name":"x","datatype":"FP32","shape":[4,4],"shape":[1,4],"data":[1,2,3,4]}]}',
    b'{"inputs":[{"name":"x","datatype":"INT8","datatype":"FP32","shape":[1,4],"data":[1,2,3,4]}]}',
    b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,4],"data":[9,9,9,9],"data":[1,2,3,4]}]}',
    b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,4],"d\\u0061ta":[9,9,9,9],"data":[1,2,3,4]}]}',
    b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,4],"data":[1,2,3,4],"parameters":{},"parameters":{}}]}',
)
NAMES = ("..%2f..%2fetc", "%2e%2e%2fx", "..%5cx", "%2fabs", "a%00b", "n" * 300, "line%D0%B0r", "linear%20", "LINEAR")
UNKNOWN_MODEL = "the protocol's clients look for 'Request for unknown model', 404; no path is ever made of a name"

CASES: list[Case] = [
    *everywhere(1, "an empty body", b"", rest="JSON"),
    *everywhere(2, "JSON that is cut off", b'{"inputs": [{"name": "' + CANARY.encode(), rest="JSON"),
    *everywhere(2, "no JSON at all", CANARY.encode(), rest="JSON"),
    *everywhere(3, "bytes behind the JSON", GOOD + b"x", rest="JSON"),
    *everywhere(4, "a byte order mark", b"\xef\xbb\xbf" + GOOD, rest="JSON"),
    *everywhere(5, "text that is not UTF-8", b'{"model": "\xff\xfe", "inputs": "\xff"}', rest="JSON", infer="fit"),
    *everywhere(6, "half a surrogate pair", b'{"model": "\\ud800", "text_input": "\\ud800"}', rest="JSON"),
    *everywhere(7, "NaN where JSON has none", b'{"model": NaN}', rest="JSON", infer="fit"),
    document(8, "a number over the range", "range", GOOD.replace(b"4]}", b"1e400]}")),
    document(8, "a number over the range", "range", b"[[1,2,3,1e400]]", PLAIN),
    document(9, "an integer of 5,000 digits", "range", GOOD.replace(b"4]}", b"9" * 5000 + b"]}")),
    document(9, "an integer of 5,000 digits", "range", b"[[1,2,3," + b"9" * 5000 + b"]]", PLAIN),
    document(9, "an integer of 5,000 digits", "range", b'{"model": "x", "seed": ' + b"9" * 5000 + b"}", CHAT),
    document(
        10, "2^64 + 1 for INT64", "fit",
        {"inputs": [{"name": "i", "datatype": "INT64", "shape": [1], "data": [(1 << 64) + 1]}]}, INT64,
    ),
    *everywhere(11, "lists 100,000 deep", b"[" * 100_000, rest="deep", infer="array"),
    document(11, "lists 100,000 deep in a field", "deep", b'{"inputs":[{"name":"x","data":' + b"[" * 100_000),
    document(11, "lists 900 deep as data", "'data'", GOOD.replace(b"[1, 2, 3, 4]", b"[" * 900 + b"]" * 900)),
    document(11, "lists 900 deep as rows", "'x'", b"[" * 900 + b"]" * 900, PLAIN),
    document(11, "lists 900 deep in a schema", "deep", b'{"model":' + b"[" * 900 + b"]" * 900 + b"}", CHAT),
    *[document(12, f"a field that stands twice ({number})", "twice", body) for number, body in enumerate(TWICE)],
    document(13, "an unknown field", "Unknown parameter: 'tenant_id'", {"model": "x", "tenant_id": CANARY}, EMBED),
    chat(13, "an unknown field", "Unknown parameter: 'price'", price=0),
    document(14, "50,000 keys", "'k", MANY_KEYS, CHAT),
    document(14, "50,000 keys", "inputs", MANY_KEYS),
    document(14, "50,000 keys", "not known", MANY_KEYS, PLAIN),
    *[Case(15, "a body over the limit", 413, "1000000", path, b"x" * 1_000_001) for path in DOCUMENTS],
    Case(25, "a method that the route lacks", 405, "GET", "/v2/models/linear", method="DELETE"),
    Case(25, "a method that the route lacks", 405, "POST", V2, method="PUT"),
    Case(25, "a method that the route lacks", 405, "POST", CHAT, method="PATCH"),
    Case(25, "a method that the route lacks", 405, "GET, POST", PLAIN, method="DELETE"),
    Case(26, "a media type that is not taken", 415, "text/csv", PLAIN, b"1,2,3,4", {"content-type": "text/csv"}),
    Case(26, "a form", 415, "form", PLAIN, b"--x", {"content-type": "multipart/form-data; boundary=x"}),
    Case(26, "bytes of no known kind", 415, "Content-Type", PLAIN, CANARY.encode(), {}),
    *coded(27, "brotli", "br", GOOD, "gzip or deflate", 415),
    *coded(27, "gzip in gzip", "gzip, gzip", gzip.compress(gzip.compress(GOOD)), "gzip or deflate", 415),
    *coded(27, "an unknown coding", CANARY, GOOD, "gzip or deflate", 415),
    *coded(28, "a gzip bomb", "gzip", BOMB, "inflates", 413),
    *coded(29, "zstd", "zstd", b"\x28\xb5\x2f\xfd\x24\x00\x01\x00\x00", "gzip or deflate", 415),
    *coded(31, "gzip that is cut off", "gzip", gzip.compress(GOOD)[:-5], "cut off", 400),
    *coded(31, "two gzip members", "gzip", gzip.compress(GOOD) * 2, "followed by other data", 400),
    *coded(31, "no gzip", "gzip", CANARY.encode(), "no valid gzip", 400),
    *coded(32, "deflate without its frame", "deflate", zlib.compress(GOOD)[2:-4], "no valid deflate", 400),
    *[Case(33, f"a model called {name[:12]}", 404, "unknown model", f"/v2/models/{name}/infer", GOOD,
           because=UNKNOWN_MODEL) for name in NAMES],
    *[Case(33, f"a model called {name[:12]}", 404, "unknown model", f"/models/{name}", b"[[1,2,3,4]]",
           because=UNKNOWN_MODEL) for name in NAMES if "%2f" not in name],
    *[document(33, f"a model called {name[:12]}", "nknown model" if len(name) <= 256 else "length",
               {"model": name, "messages": [{"role": "user", "content": "x"}]}, CHAT,
               404 if len(name) <= 256 else 400) for name in ("../x", "/abs", "a\0b", "n" * 300, "lineаr", "linear ")],
    *[Case(34, f"version {version}", 404, "unknown model", f"/v2/models/linear/versions/{version}/infer", GOOD)
      for version in ("0", "-1", "9", "1" * 30, "1.0", "x")],
    document(37, "a missing input", "missing required input", {"inputs": []}),
    document(37, "an input too many", f"unexpected inference input '{CANARY}'", {"inputs": [tensor(name=CANARY)]}),
    document(37, "an input twice", "given twice", {"inputs": [tensor(), tensor()]}),
    document(37, "a column too many", "not known", {"inputs": {"x": [[1, 2, 3, 4]], CANARY: 1}}, PLAIN),
    document(37, "an input of that name", "unexpected inference input", {CANARY: 1}, GENERATE),
    document(38, "an output twice", "twice", {"inputs": [tensor()], "outputs": [{"name": "y"}] * 2}),
    document(38, "20,000 outputs", "twice", {"inputs": [tensor()], "outputs": [{"name": "y"}] * 20_000}),
    document(38, "an unknown output", "unexpected inference output",
             {"inputs": [tensor()], "outputs": [{"name": CANARY}]}),
    v2(39, "another datatype", "data-type is 'INT32'", datatype="INT32"),
    v2(39, "an unknown datatype", "data-type is 'FP128'", datatype="FP128"),
    v2(41, "a negative size", "negative", shape=[-1, 4]),
    v2(41, "the least of all sizes", "negative", shape=[-(1 << 63), 4]),
    v2(42, "a product that overflows", "exceed", shape=[1 << 62, 4]),
    v2(42, "a size over 64 bits", "shape", shape=[1 << 70, 4]),
    v2(43, "no rows", "batch-size must be >= 1", shape=[0, 4], data=[]),
    v2(44, "200,000 axes", "unexpected shape", shape=[1] * 200_000),
    v2(44, "20,000 axes of 2^62", "unexpected shape", shape=[1 << 62] * 20_000),
    v2(45, "too few elements", "true shape", data=[1, 2, 3]),
    v2(45, "too many elements", "true shape", data=[1] * 100_000),
    v2(45, "another size of a fixed axis", "Expected [-1,4], got [1,5]", shape=[1, 5], data=[0] * 5),
    v2(46, "ragged lists", "'data'", shape=[2, 4], data=[[1, 2, 3, 4], [1, 2]]),
    document(46, "ragged rows", "ragged", [[1, 2, 3, 4], [1, 2]], PLAIN),
    v2(47, "a text among numbers", "fit", data=[1, 2, 3, CANARY]),
    v2(47, "null among numbers", "fit", data=[1, 2, 3, None]),
    v2(47, "a boolean among numbers", "fit", data=[1, 2, 3, True]),
    document(47, "a text among numbers", "takes numbers", [[1, 2, 3, CANARY]], PLAIN),
    document(47, "one long text and many short ones", "takes numbers", ["a"] * 50_000 + ["x" * 700_000], PLAIN),
    document(47, "null among numbers", "takes only numbers", [[1, 2, 3, None]], PLAIN),
    *[binary(51, f"a header length of {length[:12]}", "header size should be in range", 16, b"\0" * 16, length)
      for length in ("999999", "-1", "x", "1e3", "9" * 40)],
    Case(51, "binary data without the header's length", 400, "JSON",
         body=json.dumps({"inputs": [tensor(parameters={"binary_data_size": 16}, data=None)]}).encode() + b"\0" * 16),
    binary(52, "a byte too few", "expecting 1 additional bytes", 16, b"\0" * 15),
    binary(52, "a byte too many", "unexpected additional input data", 16, b"\0" * 17),
    binary(52, "a size that is not the shape's", "byte size mismatch", 12, b"\0" * 12),
    binary(52, "a size of 2^62", "additional bytes", 1 << 62, b"\0" * 16),
    binary(52, "a negative size", "binary_data_size", -1, b"\0" * 16),
    binary(52, "a size that is a text", "binary_data_size", CANARY, b"\0" * 16),
    v2(52, "data in two ways", "only one of the following", parameters={"binary_data_size": 16}),
    document(54, "shared memory", "shared memory is not offered",
             {"inputs": [tensor(parameters={"shared_memory_region": CANARY}) | {"data": None}]}, status=501),
    document(54, "a parameter that only the server sets", "reserved",
             {"inputs": [tensor()], "parameters": {"triton_x": 1}}),
    v2(55, "more rows than a batch takes", "batch-size must be <= 64", shape=[65, 4], data=[0] * 260),
    chat(55, "a million answers", "'n'", n=10**6),
    chat(55, "no answer", "'n'", n=0),
    chat(55, "2^40 tokens", "'max_tokens'", max_tokens=1 << 40),
    chat(55, "no token", "'max_completion_tokens'", max_completion_tokens=0),
    chat(55, "log probabilities of a thousand tokens", "'top_logprobs'", logprobs=True, top_logprobs=1000),
    chat(55, "five thousand messages", "'messages'", messages=[{"role": "user", "content": "x"}] * 5000),
    chat(55, "a schema of 1,600 alternatives", "500", response_format={
        "type": "json_schema", "json_schema": {"name": "s", "schema": {"enum": [f"v{n}" for n in range(1600)]}}}),
    chat(55, "tools of 600 properties", "500", tools=[{"type": "function", "function": {
        "name": "f", "parameters": {"type": "object", "properties": {f"p{n}": {} for n in range(600)}}}}]),
    document(55, "five thousand texts", "2048", {"model": "x", "input": ["x"] * 5000}, EMBED),
    *[Case(56, f"a deadline of {text}", 400, "Airserve-Timeout-Ms", path, body, {**JSON, "airserve-timeout-ms": text})
      for text in ("0", "-5", "soon", "1e3", "1000000000000", "")
      for path, body in ((V2, GOOD), (PLAIN, b"[[1,2,3,4]]"))],
    document(56, "a deadline of the protocol's", "timeout", {"inputs": [tensor()], "parameters": {"timeout": -1}}),
    document(57, "an id of 500 KB", "'id' is", {"id": "x" * 500_000, "inputs": [tensor()]}),
    document(57, "an id with control characters", "'id' is", {"id": "a\r\nb", "inputs": [tensor()]}),
    document(57, "an id with control characters", "'id' is", {"id": "a\x00b", "x": 1}, GENERATE),
    Case(57, "a call id of 300 characters", 400, "Airserve-Call-Id", V2, GOOD, {**JSON, "airserve-call-id": "x" * 300}),
    *[Case(58, what, 401, words, path, GOOD, key=key) for path in DOCUMENTS for what, words, key in (
        ("no key", "no API key", None), ("no key of ours", "no Airserve API key", CANARY),
        ("a bad checksum", "mistyped", "mistyped"), ("a key that nobody has", "not known", "unknown"))],
    *[Case(59, "a key in the URL", 400, "revoke it", f"{path}?key=KEY", GOOD) for path in DOCUMENTS],
    *[Case(59, f"{kind} in the URL", 400, "revoke it", f"{V2}?key=as_{kind}_0", GOOD) for kind in ("usr", "adm")],
]  # fmt: skip


@dataclass(frozen=True)
class Raw:
    """Bytes to a connection of HTTP/1.1, and the status that comes back. `KEY` stands for a good key."""

    row: int
    what: str
    status: int
    sent: bytes


def head(*lines: str, path: str = V2) -> bytes:
    return "\r\n".join([f"POST {path} HTTP/1.1", "host: x", "authorization: Bearer KEY", *lines, "", ""]).encode()


_CHUNKED = "transfer-encoding: chunked"

RAW: list[Raw] = [
    Raw(16, "a chunked body over the limit", 413, head(_CHUNKED) + (b"10000\r\n" + b"x" * 65536 + b"\r\n") * 16),
    Raw(17, "65,537 chunks of one byte", 400, head(_CHUNKED) + b"1\r\n \r\n" * 65_537 + b"0\r\n\r\n"),
    Raw(18, "a negative length", 400, head("content-length: -1")),
    Raw(18, "a length with a sign", 400, head("content-length: +5") + b"12345"),
    Raw(18, "a length in hexadecimal", 400, head("content-length: 0x10") + b"x" * 16),
    Raw(18, "a length over 64 bits", 400, head("content-length: 99999999999999999999999")),
    Raw(18, "two lengths", 400, head("content-length: 5", "content-length: 6") + b"123456"),
    Raw(19, "length and chunks", 400, head("content-length: 5", _CHUNKED) + b"0\r\n\r\n"),
    Raw(19, "chunks, but not at the end", 400, head("transfer-encoding: chunked, gzip") + b"0\r\n\r\n"),
    Raw(19, "a folded header", 400, head("x: a", " b", "content-length: 0")),
    Raw(19, "a header without a name", 400, head(": a", "content-length: 0")),
    Raw(19, "a space before the colon", 400, head("content-length : 0")),
    Raw(22, "101 headers", 431, head(*(f"x-{number}: a" for number in range(101)))),
    Raw(22, "a header of 1 MB", 431, head(f"x: {'a' * 1_000_000}")),
    Raw(23, "a URL of 5 KB", 414, head("content-length: 0", "connection: close", path="/v2/" + "a" * 5000)),
    Raw(24, "NUL in a header", 400, head("x: a\0b", "content-length: 0")),
    Raw(24, "a bare carriage return in a header", 400, head("x: a\rb", "content-length: 0")),
    Raw(25, "an unknown method", 400, b"FETCH / HTTP/1.1\r\nhost: x\r\n\r\n"),
    Raw(
        85,
        "TLS to where plaintext is spoken",
        400,
        b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\n\r\n\x16\x03\x01\x02\x00\x01",
    ),
]
