"""What a model takes and gives, told to who asks with a browser or curl."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec

from airserve.core.tensor import TensorSpec
from airserve.models.manifest import Manifest
from airserve.protocols.encoded import Encoded
from airserve.protocols.plain.request import hint
from airserve.protocols.plain.rows import plain_name

_JSON = (b"content-type", b"application/json")
_MOST_COLUMNS_SHOWN = 8
_CURL = 'curl -H "Authorization: Bearer $AIRSERVE_KEY"'


def model_list(names: Sequence[str]) -> Encoded:
    """The models that the caller may call, with where each is described."""
    models = [{"name": name, "href": f"/models/{name}"} for name in names]
    return Encoded(200, [_JSON], [_pretty({"models": models})])


def describe(manifest: Manifest, name: str, version: int, *, generates: bool) -> Encoded:
    """Inputs, outputs, names of columns and classes, and a call to copy. `name` is the model's in the service."""
    document: dict[str, Any] = {
        "name": name,
        "version": version,
        "description": manifest.description,
        "inputs": list(map(_tensor, manifest.signature.inputs)),
        "outputs": list(map(_tensor, manifest.signature.outputs)),
        "columns": list(manifest.columns),
        "labels": list(manifest.labels),
        "most_rows": manifest.max_batch or 1,
    }
    if generates:
        document["example"] = f"airserve chat {name}"
        return Encoded(200, [_JSON], [_pretty(document)])
    document["how"] = hint(manifest)
    document["example"] = f'{_CURL} {_example(manifest)} "$AIRSERVE_URL/models/{name}"'
    return Encoded(200, [_JSON], [_pretty(document)])


def _example(manifest: Manifest) -> str:
    if manifest.vision is not None and manifest.split is None:
        return "--data-binary @picture.jpg"
    if manifest.text is not None:
        return "-H 'Content-Type: text/plain' --data-binary 'a text'"
    if 0 < len(manifest.columns) <= _MOST_COLUMNS_SHOWN:
        row = {plain_name(column): 0 for column in manifest.columns}
        return f"--json '{json.dumps([row])}'"
    if len(manifest.inputs) == 1 and manifest.inputs[0].datatype != "BYTES":
        return "--data-binary @rows.npy"
    rows = {spec.name: "…" for spec in manifest.signature.inputs}
    return f"--json '{json.dumps([rows], ensure_ascii=False)}'"


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}


def _pretty(document: dict[str, Any]) -> bytes:
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"
