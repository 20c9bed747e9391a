"""One call as the client sees it, without any I/O: what to send, what came back, whether to try again.

A call has one budget of time for all its attempts, and one id: the service meters it once, however often it is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import msgspec
import numpy as np

from airserve.codecs.tensors import from_raw, to_raw
from airserve.core.call import Array, Tensors
from airserve.core.errors import (
    AirserveError,
    DeadlineExceededError,
    InvalidInputError,
    KeyInUseError,
    OverloadedError,
    RateLimitedError,
    UnreachableError,
    from_wire,
)
from airserve.core.tensor import NUMPY_OF, datatype_of

_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 2.0
_PASSING = (KeyInUseError, OverloadedError, RateLimitedError, UnreachableError)
_HEADER_LENGTH = "inference-header-content-length"
# What OpenAI's API calls by other names than ours, as far as a status alone would not tell.
_CODES = {"insufficient_quota": "budget_exhausted"}
_STATUS_OF_TYPE = {"invalid_request_error": 400, "rate_limit_error": 429}


@dataclass(frozen=True, slots=True)
class Timings:
    """Where the time of the last call went, in milliseconds; queue, compute and total are the service's own."""

    queue_ms: float
    compute_ms: float
    total_ms: float
    round_trip_ms: float
    batch_rows: int
    attempts: int


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """What to send."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes = b""


LIVE = HttpRequest("GET", "/v2/health/live", {})
"""The smallest request there is."""


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """What came back; header names are lower-case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class Attempts:
    """Counts attempts at one call and decides about the next. Times are seconds on one monotonic clock."""

    deadline: float | None
    retries: int
    made: int = field(default=0, init=False)

    def remaining_ms(self, now: float) -> float | None:
        """What is left of the budget; None without one. Raises `DeadlineExceededError` when it is used up."""
        if self.deadline is None:
            return None
        if now >= self.deadline:
            raise DeadlineExceededError("the time for this call ran out before an answer came")
        return (self.deadline - now) * 1000

    def pause(self, error: AirserveError, now: float, draw: float) -> float:
        """How many seconds to wait before the next attempt; raises `error` where there should be none.

        Full jitter: a random part (`draw`, 0 to 1) of an exponentially growing pause, but never less than what the
        service asked for.
        """
        if not isinstance(error, _PASSING) or self.made > self.retries:
            raise error
        pause = float(draw * min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0**self.made))
        pause = max(pause, error.retry_after or 0.0)
        if self.deadline is not None and now + pause >= self.deadline:
            raise error
        return pause


def infer_request(
    model: str, inputs: Mapping[str, Any], *, version: str | None, outputs: Sequence[str] | None, call_id: str
) -> HttpRequest:
    """A binary infer request; `inputs` are arrays or lists, text becomes BYTES."""
    heads: list[dict[str, Any]] = []
    raws: list[bytes | memoryview] = []
    for name, array in tensors_of(inputs).items():
        raw = to_raw(array)
        raws.append(raw)
        heads.append(
            {
                "name": name,
                "shape": array.shape,
                "datatype": datatype_of(array),
                "parameters": {"binary_data_size": len(raw)},
            }
        )
    document: dict[str, Any] = {"inputs": heads}
    if outputs is None:
        document["parameters"] = {"binary_data_output": True}
    else:
        document["outputs"] = [{"name": name, "parameters": {"binary_data": True}} for name in outputs]
    head = msgspec.json.encode(document)
    headers = {
        "content-type": "application/octet-stream",
        _HEADER_LENGTH: str(len(head)),
        "airserve-call-id": call_id,
    }
    return HttpRequest("POST", f"{model_path(model, version)}/infer", headers, b"".join((head, *raws)))


def tensors_of(inputs: Mapping[str, Any]) -> Tensors:
    """Arrays as they are, lists as arrays: plain Python numbers carry no precision of their own; models take FP32."""
    tensors: Tensors = {}
    for name, value in inputs.items():
        array = np.asarray(value)
        if array.dtype == np.float64 and not isinstance(value, np.ndarray):
            array = array.astype(np.float32)
        tensors[name] = array
    return tensors


def model_path(model: str, version: str | None = None) -> str:
    """The path of a model; what is no part of a path is percent-encoded."""
    path = f"/v2/models/{quote(model, safe='@')}"
    return path if version is None else f"{path}/versions/{quote(str(version), safe='')}"


def parse_outputs(response: HttpResponse) -> Tensors:
    """The outputs of an infer response, read-only views of its body (BYTES: object arrays of bytes)."""
    return outputs_of(response, _raw_output)


def outputs_of(response: HttpResponse, binary: Callable[[memoryview, dict[str, Any]], Array]) -> Tensors:
    """The outputs of an infer response; `binary` reads one that is not in JSON, from its bytes and its head."""
    length = int(response.headers.get(_HEADER_LENGTH, len(response.body)))
    view = memoryview(response.body)
    document = parse_json(response.body[:length])
    outputs: Tensors = {}
    offset = length
    try:
        for head in document["outputs"]:
            size = head.get("parameters", {}).get("binary_data_size")
            if size is None:
                outputs[head["name"]] = _from_json(head)
                continue
            raw = view[offset : offset + size]
            outputs[head["name"]] = binary(raw, head)
            offset += size
    except (KeyError, TypeError, AttributeError):
        raise _no_airserve(response) from None
    return outputs


def _raw_output(raw: memoryview, head: dict[str, Any]) -> Array:
    return from_raw(raw, head["datatype"], head["shape"], head["name"])


def _from_json(head: dict[str, Any]) -> Array:
    if head["datatype"] == "BYTES":
        array = np.empty(len(head["data"]), dtype=object)
        array[:] = [text.encode() for text in head["data"]]
        return array.reshape(head["shape"])
    return np.array(head["data"], NUMPY_OF[head["datatype"]]).reshape(head["shape"])


def raise_for(response: HttpResponse) -> None:
    """Raise the service's refusal as its class in `airserve.core.errors`."""
    if response.status == 200:
        return
    retry_after = response.headers.get("retry-after", "")
    try:
        error = refusal(msgspec.json.decode(response.body), response.status)
    except (msgspec.MsgspecError, KeyError, TypeError, AttributeError):
        error = from_wire(None, response.status, f"the service answered with HTTP {response.status}")
    error.retry_after = float(retry_after) if retry_after.isdigit() else None
    raise error


def refusal(document: dict[str, Any], status: int | None) -> AirserveError:
    """The refusal that a document tells of: `{"error": "…", "code": "…"}`, or the error object of OpenAI's API.

    `status` None stands for an error in the middle of a stream, which has none.
    """
    told = document["error"]
    if isinstance(told, str):
        return from_wire(document.get("code"), status or 500, told)
    code = _CODES.get(str(told.get("code")), told.get("code"))
    return from_wire(code, status or _STATUS_OF_TYPE.get(str(told.get("type")), 500), str(told["message"]))


def parse_json(body: bytes) -> Any:
    """The JSON document of a response."""
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError:
        raise AirserveError("the answer is no JSON; is the URL that of an Airserve service?") from None


def timings(response: HttpResponse, *, round_trip_s: float, attempts: int) -> Timings:
    """What the response's `Server-Timing` says, beside what the client measured."""
    parts: dict[str, float] = {}
    for entry in response.headers.get("server-timing", "").split(","):
        name, _, duration = entry.strip().partition(";dur=")
        if duration:
            parts[name] = float(duration)
    return Timings(
        queue_ms=parts.get("queue", 0.0),
        compute_ms=parts.get("compute", 0.0),
        total_ms=parts.get("total", 0.0),
        round_trip_ms=round_trip_s * 1000,
        batch_rows=int(response.headers.get("airserve-batch-rows", 1)),
        attempts=attempts,
    )


def variant_of(response: HttpResponse) -> tuple[str | None, float | None]:
    """The variant that answered and its accuracy, where the service has several."""
    accuracy = response.headers.get("airserve-accuracy")
    return response.headers.get("airserve-variant"), None if accuracy is None else float(accuracy)


def check_url(url: str, http: str) -> str:
    """The base URL without a slash at its end. Raises `InvalidInputError` for what cannot work."""
    if not url.startswith(("https://", "http://")):
        raise InvalidInputError(f"'{url[:80]}' is no URL of a service; it begins with https:// or http://")
    if http not in ("auto", "1.1", "2", "3"):
        raise InvalidInputError(f"http='{http}' is not spoken; use 'auto', '1.1', '2' or '3'")
    if http in ("2", "3") and url.startswith("http://"):
        raise InvalidInputError(f"HTTP/{http} needs https; this URL is plaintext")
    return url.rstrip("/")


def _no_airserve(response: HttpResponse) -> AirserveError:
    return AirserveError(f"the answer (HTTP {response.status}) is none of the Open Inference Protocol")
