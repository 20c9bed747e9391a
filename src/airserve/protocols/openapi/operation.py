"""One operation of the document: what it takes, what it answers, and which refusals it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

REFUSALS = {
    400: "The request does not fit the protocol or the model; the sentence says where.",
    401: "No API key, or one that is not known, expired or revoked.",
    402: "The account does not cover the call.",
    403: "The key is good, but not for this.",
    404: "No such model, version or alias.",
    406: "The answer does not come in the form that `Accept` asks for.",
    408: "The request did not come in time.",
    413: "The body, or what it inflates to, is too large.",
    415: "A content coding or media type that is not spoken here.",
    409: "An input that was named by its digest alone is not held; send its data.",
    429: "The tenant asks for more than its plan allows at this time.",
    431: "Request line and headers are too large.",
    500: "The model failed on this input, or the server did.",
    501: "The model does not answer on this route.",
    503: "Overloaded, loading or about to stop: come back after `Retry-After` seconds.",
    504: "The deadline ran out.",
}
_ALWAYS = (400, 408, 431, 500, 503)
_OF_KEYS = (401, 403)
_OF_BODIES = (413, 415)
CALL = (402, 404, 429, 501, 504)
"""What a call of a model can be refused with, beyond what every request can."""


def ref(name: str) -> Json:
    """A schema among the components."""
    return {"$ref": f"#/components/schemas/{name}"}


@dataclass(frozen=True, slots=True)
class Body:
    """What a request brings: its schema by media type."""

    content: Mapping[str, Json]
    required: bool = True
    example: Any = None


def operation(
    summary: str,
    *,
    tag: str,
    answers: Mapping[str, Json],
    body: Body | None = None,
    parameters: Sequence[Json] = (),
    refusals: Sequence[int] = (),
    key: str | None = "key",
    errors: str = "Refusal",
) -> Json:
    """The operation object. `answers` is the schema of a 200 by media type; `key` names the security scheme."""
    codes = {*_ALWAYS, *refusals, *(_OF_KEYS if key else ()), *(_OF_BODIES if body else ())}
    document: Json = {
        "summary": summary,
        "tags": [tag],
        "responses": {
            "200": {"description": "The answer.", "content": _content(answers)},
            **{
                str(code): {"description": REFUSALS[code], "content": _content({"application/json": ref(errors)})}
                for code in sorted(codes)
            },
        },
        "security": [{key: []}] if key else [],
    }
    if parameters:
        document["parameters"] = list(parameters)
    if body is not None:
        document["requestBody"] = {"required": body.required, "content": _content(body.content)}
        if body.example is not None:
            document["requestBody"]["content"]["application/json"]["example"] = body.example
    return document


def path_parameter(name: str, description: str, schema: Json) -> Json:
    """A parameter in the path."""
    return {"name": name, "in": "path", "required": True, "description": description, "schema": schema}


MODEL = path_parameter("model", "Name, or `name@alias`.", {"type": "string", "minLength": 1})
VERSION = path_parameter("version", "Number of a version.", {"type": "string", "pattern": "^[0-9]{1,9}$"})
TIMEOUT = {
    "name": "Airserve-Timeout-Ms",
    "in": "header",
    "description": "How long the call may take, from its arrival to its reply.",
    "schema": {"type": "number", "exclusiveMinimum": 0, "maximum": 86_400_000},
}
CALL_ID = {
    "name": "Airserve-Call-Id",
    "in": "header",
    "description": "The same for every attempt at one call, so that it is charged once.",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"},
}

VARIANT = {
    "name": "Airserve-Variant",
    "in": "header",
    "description": "The one variant that may answer, of a model that is served in several.",
    "schema": {"type": "string"},
}
MIN_ACCURACY = {
    "name": "Airserve-Min-Accuracy",
    "in": "header",
    "description": "The least accuracy of a variant that may answer, as the model's configuration lists it.",
    "schema": {"type": "number", "minimum": 0},
}


def _content(by_media: Mapping[str, Json]) -> Json:
    return {media: {"schema": schema} for media, schema in by_media.items()}
