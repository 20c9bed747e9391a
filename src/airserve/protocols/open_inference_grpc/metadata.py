"""What the server says of itself and of its models, as messages."""

from __future__ import annotations

from collections.abc import Sequence

from airserve.core.tensor import Signature, TensorSpec
from airserve.models.manifest import CodecEntry
from airserve.protocols.open_inference.metadata import EXTENSIONS, accepted_codecs, platform
from airserve.protocols.protos.open_inference_pb import ModelMetadataResponse, ServerMetadataResponse

_Tensor = ModelMetadataResponse.TensorMetadata


def server_metadata(name: str, version: str) -> ServerMetadataResponse:
    """Name, version and extensions of the server."""
    return ServerMetadataResponse(name=name, version=version, extensions=list(EXTENSIONS))


def model_metadata(
    model: str, versions: Sequence[str], signature: Signature, engine: str, codecs: Sequence[CodecEntry] = ()
) -> ModelMetadataResponse:
    """The model's versions, inputs and outputs; -1 is a free axis, the batch among them.

    The property `codecs.NAME` tells which lossy codecs the tensor NAME takes.
    """
    accepted = {name: accepted_codecs(name, codecs) for name in dict.fromkeys(entry.tensor for entry in codecs)}
    return ModelMetadataResponse(
        name=model,
        versions=list(versions),
        platform=platform(engine),
        inputs=[_tensor(spec) for spec in signature.inputs],
        outputs=[_tensor(spec) for spec in signature.outputs],
        properties={f"codecs.{name}": names for name, names in accepted.items()},
    )


def _tensor(spec: TensorSpec) -> _Tensor:
    return _Tensor(name=spec.name, datatype=spec.datatype, shape=list(spec.shape))
