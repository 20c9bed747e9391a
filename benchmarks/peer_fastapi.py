"""The fair peer: FastAPI, uvicorn and ONNX Runtime as a careful developer writes them by hand in an afternoon.

No authentication, no batching, no metering, no deadlines. JSON bodies are those of the Open Inference Protocol v2;
binary bodies are bare float32 rows. A model as small as this one runs on the event loop: handing it to a thread costs
more than it does. Run as `python -m benchmarks.peer_fastapi MODEL.onnx PORT`.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import onnxruntime as ort
import uvicorn
from fastapi import FastAPI, Request, Response


def make_app(model_file: str) -> FastAPI:
    """The application, with the model loaded."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model_file, options, providers=["CPUExecutionProvider"])
    (model_input,) = session.get_inputs()
    (model_output,) = session.get_outputs()
    row_shape = model_input.shape[1:]
    app = FastAPI()

    def predict(rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return session.run([model_output.name], {model_input.name: rows})[0]  # type: ignore[no-any-return]

    @app.post("/json")
    async def infer_json(request: Request) -> dict[str, Any]:
        tensor = (await request.json())["inputs"][0]
        outputs = predict(np.array(tensor["data"], np.float32).reshape(tensor["shape"]))
        return {
            "model_name": "tiny",
            "outputs": [
                {
                    "name": model_output.name,
                    "datatype": "FP32",
                    "shape": list(outputs.shape),
                    "data": outputs.ravel().tolist(),
                }
            ],
        }

    @app.post("/binary")
    async def infer_binary(request: Request) -> Response:
        rows = np.frombuffer(await request.body(), "<f4").reshape(-1, *row_shape)
        return Response(predict(rows).tobytes(), media_type="application/octet-stream")

    return app


if __name__ == "__main__":
    uvicorn.run(make_app(sys.argv[1]), host="127.0.0.1", port=int(sys.argv[2]), log_level="error", access_log=False)
