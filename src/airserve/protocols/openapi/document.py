"""The whole document. Source: OpenAPI Specification 3.1.1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

import msgspec

from airserve.core.tensor import Signature
from airserve.protocols.openai.chat import ChatRequest
from airserve.protocols.openai.completions import CompletionRequest
from airserve.protocols.openapi import paths, schemas
from airserve.protocols.openapi.operation import Json, ref

_INTRODUCTION = (
    "AI as a service. Every route but health, these pages and the .proto files wants a key, as "
    "`Authorization: Bearer …`: a tenant's, or where it says so the operator's. Refusals cost nothing."
)


@dataclass(frozen=True, slots=True)
class ModelSchema:
    """What the document says of one model."""

    name: str
    signature: Signature
    generates: bool


def document(title: str, version: str, models: Sequence[ModelSchema] = ()) -> Json:
    """The OpenAPI document of every route over HTTP, and of each of `models` its own schemas."""
    of_models, components = _of_models(models)
    _, of_openai = msgspec.json.schema_components(
        [ChatRequest, CompletionRequest], ref_template="#/components/schemas/{name}"
    )
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version, "description": _INTRODUCTION},
        "paths": {**of_models, **paths.open_inference(), **paths.openai(), **paths.plain(), **paths.service()},
        "components": {
            "schemas": {**schemas.COMPONENTS, **of_openai, **components},
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "A tenant's key, as_live_…"},
                "operator": {"type": "http", "scheme": "bearer", "description": "The operator's key, as_adm_…"},
            },
        },
    }


def _of_models(models: Sequence[ModelSchema]) -> tuple[dict[str, Json], dict[str, Json]]:
    """The calls of each model as paths of their own, and the schemas that they name."""
    calls: dict[str, Json] = {}
    components: dict[str, Json] = {}
    for model in models:
        path = f"/v2/models/{quote(model.name, safe='')}"
        if model.generates:
            calls[f"{path}/generate"] = {"post": paths.generate((), stream=False)}
            calls[f"{path}/generate_stream"] = {"post": paths.generate((), stream=True)}
            continue
        request, response = f"{model.name}.InferRequest", f"{model.name}.InferResponse"
        components[request] = schemas.infer_request(model.signature)
        components[response] = schemas.infer_response(model.signature)
        example = schemas.infer_example(model.signature)
        calls[f"{path}/infer"] = {"post": paths.infer(ref(request), ref(response), (), example)}
    return calls, components
