"""Every route over HTTP, by API. A route that names a version is told once, and entered with and without it."""

from __future__ import annotations

from airserve.protocols.openapi.operation import (
    CALL,
    CALL_ID,
    MIN_ACCURACY,
    MODEL,
    TIMEOUT,
    VARIANT,
    VERSION,
    Body,
    Json,
    operation,
    ref,
)

JSON = "application/json"
BINARY = "application/octet-stream"
EVENTS = "text/event-stream"
_BYTES: Json = {"type": "string", "format": "binary"}
_TEXT: Json = {"type": "string"}


def open_inference() -> dict[str, Json]:
    """`/v2`."""
    tag = "Open Inference Protocol"

    def get(summary: str, schema: str, *, key: str | None = "key", model: bool = False) -> Json:
        parameters, refusals = ((MODEL,), (404,)) if model else ((), ())
        return {
            "get": operation(
                summary, tag=tag, answers={JSON: ref(schema)}, key=key, parameters=parameters, refusals=refusals
            )
        }

    def of_operators(summary: str, answer: Json, *, model: bool = False) -> Json:
        body = Body({JSON: {"type": "object"}}, required=False)
        parameters, refusals = ((MODEL,), (404, 501)) if model else ((), ())
        return {
            "post": operation(
                summary, tag=tag, answers={JSON: answer}, key="operator", body=body, parameters=parameters,
                refusals=refusals,
            )
        }  # fmt: skip

    nothing: Json = {"type": "array", "maxItems": 0}
    status = {"get": operation("No region is ever registered.", tag=tag, answers={JSON: nothing})}
    changed: Json = {"type": "object", "required": ["name"], "properties": {"name": _TEXT}}
    return {
        "/v2": get("The server's name, version and extensions.", "ServerMetadata"),
        "/v2/health/live": get("Whether the process can answer.", "Ready", key=None),
        "/v2/health/ready": get("Whether every model that should be served is.", "Ready", key=None),
        "/v2/models": get("The models that the key opens.", "ModelNames"),
        "/v2/models/stats": get("What they have done.", "Statistics"),
        **_versions("/v2/models/{model}", get("Inputs and outputs of a model.", "ModelMetadata", model=True)),
        **_versions("/v2/models/{model}", get("Whether it can infer.", "Ready", model=True), "/ready"),
        **_versions("/v2/models/{model}", get("Its configuration, as Triton's.", "ModelConfig", model=True), "/config"),
        **_versions("/v2/models/{model}", get("What it has done.", "Statistics", model=True), "/stats"),
        **_versions(
            "/v2/models/{model}",
            get("Where it can be computed, and in which codecs its tensors travel.", "Places", model=True),
            "/places",
        ),
        **_versions("/v2/models/{model}", {"get": _device(tag)}, "/device"),
        **_versions(
            "/v2/models/{model}", {"post": infer(ref("InferRequest"), ref("InferResponse"), (MODEL,))}, "/infer"
        ),
        **_versions("/v2/models/{model}", {"post": generate((MODEL,), stream=False)}, "/generate"),
        **_versions("/v2/models/{model}", {"post": generate((MODEL,), stream=True)}, "/generate_stream"),
        "/v2/repository/index": of_operators("Every version that is served, and its state.", ref("Index")),
        "/v2/repository/models/{model}/load": of_operators("Load a model, or load it again.", changed, model=True),
        "/v2/repository/models/{model}/unload": of_operators("Take a model out of memory.", changed, model=True),
        "/v2/systemsharedmemory/status": status,
        "/v2/cudasharedmemory/status": status,
    }


def _device(tag: str) -> Json:
    return operation(
        "The weights that a device runs itself, as one file.",
        tag=tag,
        answers={BINARY: _BYTES},
        parameters=(MODEL,),
        refusals=(404,),
    )


def infer(request: Json, response: Json, parameters: tuple[Json, ...], example: object = None) -> Json:
    """One call of tensors."""
    return operation(
        "Call a model of tensors.",
        tag="Open Inference Protocol",
        body=Body({JSON: request, BINARY: _BYTES}, example=example),
        answers={JSON: response, BINARY: _BYTES},
        parameters=(*parameters, TIMEOUT, CALL_ID, VARIANT, MIN_ACCURACY),
        refusals=(*CALL, 409),
    )


def generate(parameters: tuple[Json, ...], *, stream: bool) -> Json:
    """One call for text."""
    return operation(
        "Generate text, as events while it grows." if stream else "Generate text.",
        tag="Open Inference Protocol",
        body=Body({JSON: ref("GenerateRequest")}),
        answers={EVENTS: _TEXT} if stream else {JSON: ref("GenerateResponse")},
        parameters=(*parameters, TIMEOUT, CALL_ID),
        refusals=CALL,
    )


def openai() -> dict[str, Json]:
    """`/v1`."""

    def of(summary: str, answers: dict[str, Json], body: str | None = None, parameters: tuple[Json, ...] = ()) -> Json:
        return operation(
            summary,
            tag="OpenAI",
            answers=answers,
            body=Body({JSON: ref(body)}) if body else None,
            parameters=parameters,
            refusals=CALL if body else (404,),
            errors="OpenAiRefusal",
        )

    answer = {JSON: ref("OpenAiAnswer"), EVENTS: _TEXT}
    return {
        "/v1/models": {"get": of("The models that the key opens.", {JSON: ref("OpenAiModels")})},
        "/v1/models/{model}": {"get": of("One of them.", {JSON: ref("OpenAiModel")}, parameters=(MODEL,))},
        "/v1/chat/completions": {"post": of("Answer a chat, whole or as events.", answer, "ChatRequest")},
        "/v1/completions": {"post": of("Go on from a text, whole or as events.", answer, "CompletionRequest")},
        "/v1/embeddings": {"post": of("Turn texts into vectors.", {JSON: ref("Embeddings")}, "EmbeddingsRequest")},
    }


def plain() -> dict[str, Json]:
    """`/models`."""
    tag = "Plain HTTP"
    taken = {
        JSON: {}, "text/plain": _TEXT, "application/x-npy": _BYTES,
        "image/jpeg": _BYTES, "image/png": _BYTES, "image/webp": _BYTES,
    }  # fmt: skip
    call = operation(
        "Call a model with a picture, a text, rows or an .npy file.",
        tag=tag,
        body=Body(taken),
        answers={JSON: ref("Answer"), "text/plain": _TEXT, "application/x-npy": _BYTES},
        parameters=(MODEL, TIMEOUT, CALL_ID, VARIANT, MIN_ACCURACY),
        refusals=(*CALL, 406),
    )
    describe = operation(
        "What a model takes and gives, with a call to copy.",
        tag=tag,
        answers={JSON: ref("ModelDescription")},
        parameters=(MODEL,),
        refusals=(404,),
    )
    names: Json = {"type": "object", "required": ["models"]}
    return {
        "/models": {"get": operation("The models that the key opens.", tag=tag, answers={JSON: names})},
        **_versions("/models/{model}", {"get": describe, "post": call}),
    }


def service() -> dict[str, Json]:
    """What belongs to no protocol."""
    tag = "Service"
    file = {"name": "file", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
    return {
        "/metrics": {
            "get": operation("Counters for Prometheus.", tag=tag, answers={"text/plain": _TEXT}, key="operator")
        },
        **_versions(
            "/sealed/{model}",
            {
                "get": operation(
                    "The key that calls to a model are sealed to, signed.",
                    tag=tag, answers={JSON: {"type": "object", "required": ["identity", "key"]}}, parameters=(MODEL,),
                    refusals=(404,),
                )
            },
        ),
        "/protos/{file}": {
            "get": operation(
                "A `.proto` file of the services over gRPC.",
                tag=tag, answers={"text/plain": _TEXT}, key=None, parameters=(file,), refusals=(404,),
            )
        },
        "/console": {"get": operation("The operator's console.", tag=tag, answers={"text/html": _TEXT}, key=None)},
        "/docs": {"get": operation("This document, to read.", tag=tag, answers={"text/html": _TEXT}, key=None)},
        "/openapi.json": {
            "get": operation(
                "This document; with a key, the schemas of the models that it opens too.",
                tag=tag, answers={JSON: {"type": "object"}}, key=None, refusals=(401, 403),
            )
        },
    }  # fmt: skip


def _versions(path: str, operations: Json, rest: str = "") -> dict[str, Json]:
    """`path` and the same for one version."""
    exact = {method: {**each, "parameters": [*each["parameters"], VERSION]} for method, each in operations.items()}
    return {f"{path}{rest}": operations, f"{path}/versions/{{version}}{rest}": exact}
