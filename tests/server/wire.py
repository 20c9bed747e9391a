"""HTTP as written by hand, for requests that no client library would send."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

from tests.conftest import Service


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> str:
        return str(json.loads(self.body)["error"])


def send(
    service: Service, path: str, body: bytes | None = None, *, headers: dict[str, str] | None = None, method: str = ""
) -> Answer:
    request = urllib.request.Request(
        service.url + path, body, service.headers if headers is None else headers,
        method=method or ("GET" if body is None else "POST"),
    )  # fmt: skip
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return Answer(response.status, {k.lower(): v for k, v in response.headers.items()}, response.read())
    except urllib.error.HTTPError as error:
        return Answer(error.code, {k.lower(): v for k, v in error.headers.items()}, error.read())


def infer(service: Service, model: str = "linear", document: Any = None, **headers: str) -> Answer:
    if document is None:
        document = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}]}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return send(
        service, f"/v2/models/{model}/infer", json.dumps(document).encode(), headers={**service.headers, **named}
    )
