"""A session of KServe's REST client, run in a process of its own: its protobuf names clash with Triton's.

Arguments: URL and key. Prints one JSON object of what it saw.
"""

from __future__ import annotations

import asyncio
import json
import sys

import numpy as np
from kserve import InferenceRESTClient, InferInput, InferOutput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput


async def session(url: str, key: str) -> dict[str, object]:
    headers = {"Authorization": f"Bearer {key}"}
    client = InferenceRESTClient(RESTConfig(protocol="v2", retries=0))
    seen: dict[str, object] = {
        "live": await client.is_server_live(url),
        "ready": await client.is_server_ready(url),
        "model ready": await client.is_model_ready(url, "linear", headers=headers),
        "nobody ready": await client.is_model_ready(url, "nobody", headers=headers),
    }
    x = np.array([[1, 2, 3, 4]], np.float32)
    for binary in (False, True):
        given = InferInput("x", [1, 4], "FP32")
        given.set_data_from_numpy(x, binary_data=binary)
        asked = [RequestedOutput("y", parameters={"binary_data": binary})]
        request = InferRequest("linear", [given], request_id="r-1", request_outputs=asked)
        response = await client.infer(url, request, model_name="linear", headers=dict(headers))
        (y,) = response.outputs
        assert isinstance(y, InferOutput)
        seen["binary" if binary else "json"] = [response.id, y.as_numpy().tolist()]
    half = InferInput("x", [1, 4], "FP16")
    half.set_data_from_numpy(x.astype(np.float16))
    asked = [RequestedOutput("y", parameters={"binary_data": True})]
    request = InferRequest("half", [half], request_outputs=asked)
    response = await client.infer(url, request, model_name="half", headers=dict(headers))
    seen["half"] = response.outputs[0].as_numpy().tolist()
    try:
        await client.infer(url, request, model_name="nobody", headers=dict(headers))
    except Exception as error:
        seen["error"] = str(error)
    await client.close()
    return seen


if __name__ == "__main__":
    print(json.dumps(asyncio.run(session(*sys.argv[1:3]))))
