"""The schemas of the document (JSON Schema 2020-12): those of all models, and those of one."""

from __future__ import annotations

import math
from typing import Any

from airserve.core.tensor import NUMPY_OF, Signature, TensorSpec
from airserve.protocols.openapi.operation import Json, ref

_MOST_EXAMPLE_ELEMENTS = 256
_ZERO_OF = {"BOOL": False, "BYTES": "", "FP32": 0.0, "FP64": 0.0}

_STRING: Json = {"type": "string"}
_COUNT: Json = {"type": "integer", "minimum": 0}
_PARAMETERS: Json = {"type": "object", "additionalProperties": {"type": ["boolean", "number", "string"]}}
_CODEC: Json = {
    "type": "string",
    "examples": ["int8c+zstd"],
    "description": "The binary data are one coded frame; lossy codecs only where the model's metadata list them.",
}
_CODED: Json = {**_PARAMETERS, "properties": {"codec": _CODEC}}
_MAYBE_NUMBER: Json = {"type": ["number", "null"]}
_MAYBE_OBJECT: Json = {"type": ["object", "null"]}


def _object(required: tuple[str, ...] = (), /, **properties: Json) -> Json:
    schema: Json = {"type": "object", "properties": properties}
    return {**schema, "required": list(required)} if required else schema


def _list(of: Json) -> Json:
    return {"type": "array", "items": of}


def _tensor(required: tuple[str, ...], **more: Json) -> Json:
    return _object(
        ("name", "datatype", "shape", *required),
        name=_STRING,
        datatype={"type": "string", "enum": list(NUMPY_OF)},
        **{"shape": _list({"type": "integer", "minimum": -1}), **more},
    )


_DATA: Json = {"type": "array", "description": "Flat or nested to the shape, row by row."}
_DURATION = _object(("count", "ns"), count=_COUNT, ns=_COUNT)

COMPONENTS: dict[str, Json] = {
    "Refusal": _object(("error", "code"), error=_STRING, code=_STRING),
    "OpenAiRefusal": _object(
        ("error",),
        error=_object(
            ("message", "type", "param", "code"),
            message=_STRING, type=_STRING, param={"type": ["string", "null"]}, code={"type": ["string", "null"]},
        ),
    ),
    "InferRequest": _object(
        ("inputs",),
        id=_STRING,
        parameters=_PARAMETERS,
        inputs=_list(_tensor((), shape=_list(_COUNT), data=_DATA, parameters=_CODED)),
        outputs=_list(_object(("name",), name=_STRING, parameters=_CODED)),
    ),
    "InferResponse": _object(
        ("model_name", "model_version", "outputs"),
        id=_STRING, model_name=_STRING, model_version=_STRING, parameters=_PARAMETERS,
        outputs=_list(_tensor((), data={"type": "array"}, parameters=_CODED)),
    ),
    "GenerateRequest": {
        **_object(
            (),
            id=_STRING, text_input=_STRING,
            parameters={"type": "object", "description": "temperature, top_p, max_tokens, stop, seed …"},
        ),
        "description": "A model of tensors takes its inputs by their names in place of `text_input`.",
    },
    "GenerateResponse": _object(
        ("model_name", "model_version"), id=_STRING, model_name=_STRING, model_version=_STRING, text_output=_STRING
    ),
    "ServerMetadata": _object(
        ("name", "version", "extensions"), name=_STRING, version=_STRING, extensions=_list(_STRING)
    ),
    "ModelMetadata": _object(
        ("name", "versions", "platform", "inputs", "outputs"),
        name=_STRING, versions=_list(_STRING), platform=_STRING,
        inputs=_list(_tensor((), parameters=_PARAMETERS)), outputs=_list(_tensor((), parameters=_PARAMETERS)),
    ),
    "ModelConfig": _object(
        ("name", "platform", "backend", "max_batch_size", "input", "output"),
        name=_STRING, platform=_STRING, backend=_STRING, max_batch_size=_COUNT,
        input=_list({"type": "object"}), output=_list({"type": "object"}), parameters={"type": "object"},
    ),
    "Places": _object(
        ("model", "version", "address", "deterministic", "codecs", "device", "splits"),
        model=_STRING, version=_STRING, address=_STRING, deterministic={"type": "boolean"}, compute_ms=_MAYBE_NUMBER,
        accuracy=_MAYBE_NUMBER, metric={"type": ["string", "null"]}, vision=_MAYBE_OBJECT, text=_MAYBE_OBJECT,
        variants=_list(_object(("name", "accuracy"), name=_STRING, accuracy={"type": "number"})),
        codecs=_list({"type": "object"}), device=_MAYBE_OBJECT, splits=_list({"type": "object"}),
    ),
    "Statistics": _object(
        ("model_stats",),
        model_stats=_list(
            _object(
                ("name", "version", "inference_count", "execution_count", "inference_stats", "batch_stats"),
                name=_STRING, version=_STRING, last_inference=_COUNT, inference_count=_COUNT, execution_count=_COUNT,
                inference_stats={"type": "object", "additionalProperties": _DURATION},
                batch_stats=_list({"type": "object"}), memory_usage=_list({"type": "object"}),
            )
        ),
    ),
    "Ready": _object((), name=_STRING, ready={"type": "boolean"}, live={"type": "boolean"}),
    "Index": _list(
        _object(
            ("name",),
            name=_STRING, version=_STRING, reason=_STRING,
            state={"enum": ["READY", "LOADING", "UNLOADING", "UNAVAILABLE", "UNKNOWN"]},
        )
    ),
    "ModelNames": _object(("models",), models=_list(_STRING)),
    "Answer": {"description": "Outputs by name, for one row or for each of several; of a picture its labels."},
    "ModelDescription": _object(
        ("name", "version", "inputs", "outputs"),
        name=_STRING, version=_COUNT, description=_STRING, inputs=_list({"type": "object"}),
        outputs=_list({"type": "object"}), example=_STRING,
    ),
    "OpenAiModel": _object(("id", "object"), id=_STRING, object={"const": "model"}, owned_by=_STRING),
    "OpenAiModels": _object(("object", "data"), object={"const": "list"}, data=_list(ref("OpenAiModel"))),
    "OpenAiAnswer": _object(
        ("id", "object", "choices", "usage"), id=_STRING, object=_STRING, choices=_list({"type": "object"}),
        usage={"type": "object"},
    ),
    "EmbeddingsRequest": _object(
        ("model", "input"),
        model=_STRING, input={"anyOf": [_STRING, _list(_STRING)]},
        encoding_format={"enum": ["float", "base64"]}, dimensions={"type": "integer", "minimum": 1},
    ),
    "Embeddings": _object(("object", "data", "usage"), object={"const": "list"}, data=_list({"type": "object"})),
}  # fmt: skip


def infer_request(signature: Signature) -> Json:
    """The schema of an infer request of one model."""
    tensors = [_input(spec) for spec in signature.inputs]
    return _object(
        ("inputs",),
        id=_STRING,
        parameters=_PARAMETERS,
        inputs={"type": "array", "minItems": len(tensors), "maxItems": len(tensors), "items": _any_of(tensors)},
        outputs=_list(_object(("name",), name=_names(signature.outputs), parameters=_PARAMETERS)),
    )


def infer_response(signature: Signature) -> Json:
    """The schema of its answer, in JSON."""
    tensor = _tensor((), data={"type": "array"}, parameters=_PARAMETERS)
    tensor["properties"]["name"] = _names(signature.outputs)
    return _object(
        ("model_name", "model_version", "outputs"),
        id=_STRING, model_name=_STRING, model_version=_STRING, outputs=_list(tensor),
    )  # fmt: skip


def infer_example(signature: Signature) -> Any:
    """A request that the model takes: one row of zeros, or empty texts. None where that is long, or no JSON."""
    inputs = []
    for spec in signature.inputs:
        shape = [1 if size == -1 else size for size in spec.shape]
        if spec.datatype == "FP16" or math.prod(shape) > _MOST_EXAMPLE_ELEMENTS:
            return None
        zero: Any = _ZERO_OF.get(spec.datatype, 0)
        inputs.append({"name": spec.name, "datatype": spec.datatype, "shape": shape, "data": [zero] * math.prod(shape)})
    return {"inputs": inputs}


def _input(spec: TensorSpec) -> Json:
    return _object(
        ("name", "datatype", "shape"),
        name={"const": spec.name},
        datatype={"const": spec.datatype},
        shape={
            "type": "array",
            "prefixItems": [_COUNT if size == -1 else {"const": size} for size in spec.shape],
            "minItems": len(spec.shape),
            "maxItems": len(spec.shape),
        },
        data=_DATA,
        parameters=_PARAMETERS,
    )


def _names(specs: tuple[TensorSpec, ...]) -> Json:
    return {"enum": [spec.name for spec in specs]}


def _any_of(schemas: list[Json]) -> Json:
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
