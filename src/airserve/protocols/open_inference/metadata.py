"""What the server says of itself and of its models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from airserve.core.tensor import Signature, TensorSpec
from airserve.models.manifest import CodecEntry
from airserve.protocols.encoded import Encoded

EXTENSIONS = (
    "binary_tensor_data", "classification", "coded_tensors", "generate", "model_configuration", "model_repository",
    "parameters", "statistics",
)  # fmt: skip
_PLATFORM_OF = {"onnx": "onnxruntime_onnx", "llama": "llamacpp_gguf"}


def platform(engine: str) -> str:
    """What runs the model, as `<project>_<format>` where there is a format."""
    return _PLATFORM_OF.get(engine, engine)


def server_live() -> Encoded:
    """The process can answer."""
    return json_reply({"live": True})


def server_ready() -> Encoded:
    """Every model that should be served is."""
    return json_reply({"ready": True})


def server_metadata(name: str, version: str) -> Encoded:
    """Name, version and extensions of the server."""
    return json_reply({"name": name, "version": version, "extensions": EXTENSIONS})


def model_ready(model: str) -> Encoded:
    """This model can infer."""
    return json_reply({"name": model, "ready": True})


def accepted_codecs(name: str, codecs: Sequence[CodecEntry]) -> str:
    """The lossy codecs that the tensor `name` takes, as one text: int8c+zstd,fp16."""
    return ",".join(entry.codec for entry in codecs if entry.tensor == name)


def model_metadata(
    model: str, versions: Sequence[str], signature: Signature, engine: str, codecs: Sequence[CodecEntry] = ()
) -> Encoded:
    """The model's versions, inputs and outputs; -1 is a free axis, the batch among them.

    The parameter `codecs` of a tensor names the lossy ones that it takes.
    """
    return json_reply(
        {
            "name": model,
            "versions": versions,
            "platform": platform(engine),
            "inputs": [_tensor(spec, codecs) for spec in signature.inputs],
            "outputs": [_tensor(spec, codecs) for spec in signature.outputs],
        }
    )


def json_reply(value: Any, status: int = 200) -> Encoded:
    """A small JSON document."""
    return Encoded(status, [(b"content-type", b"application/json")], [msgspec.json.encode(value)])


def _tensor(spec: TensorSpec, codecs: Sequence[CodecEntry]) -> dict[str, Any]:
    tensor: dict[str, Any] = {"name": spec.name, "datatype": spec.datatype, "shape": spec.shape}
    if accepted := accepted_codecs(spec.name, codecs):
        tensor["parameters"] = {"codecs": accepted}
    return tensor
