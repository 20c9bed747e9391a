"""JSON over one warm connection of HTTP/1.1, as a script with `httpx` sends it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import msgspec
import numpy as np

from airserve.core.call import Tensors
from airserve.core.tensor import datatype_of
from benchmarks.link.clients import service
from benchmarks.link.clients.pace import TIMEOUT_S
from benchmarks.link.clients.plain import Ask, run
from benchmarks.link.workloads import Workload


@contextmanager
def connect(workload: Workload) -> Iterator[Ask]:
    import ssl

    trust = ssl.create_default_context(cafile=service.CA)
    path = f"/v2/models/{workload.tensor_model}/infer"
    with httpx.Client(base_url=service.URL, verify=trust, headers=service.HEADERS, timeout=TIMEOUT_S) as client:

        def ask(inputs: Tensors) -> dict[str, np.ndarray[Any, Any]]:
            document = {"inputs": [_tensor(name, array) for name, array in inputs.items()]}
            headers = {"content-type": "application/json"}
            response = client.post(path, content=msgspec.json.encode(document), headers=headers)
            response.raise_for_status()
            outputs = msgspec.json.decode(response.content)["outputs"]
            return {each["name"]: np.array(each["data"]).reshape(each["shape"]) for each in outputs}

        yield ask


def _tensor(name: str, array: np.ndarray[Any, Any]) -> dict[str, Any]:
    data = [each.decode() for each in array.ravel()] if array.dtype == object else array.ravel().tolist()
    return {"name": name, "shape": array.shape, "datatype": datatype_of(array), "data": data}


if __name__ == "__main__":
    run(connect, "json")
