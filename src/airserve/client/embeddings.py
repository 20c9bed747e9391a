"""Texts to embeddings as the client sees it, without any I/O. Source: OpenAI API reference, "Create embeddings"."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from airserve.client.exchange import HttpRequest, HttpResponse, parse_json
from airserve.core.errors import AirserveError


def embed_request(model: str, texts: str | Sequence[str], call_id: str) -> HttpRequest:
    """A request for one embedding a text. It asks for raw FP32: a quarter of the bytes of numbers written out."""
    given = texts if isinstance(texts, str) else list(texts)
    document = {"model": model, "input": given, "encoding_format": "base64"}
    headers = {"content-type": "application/json", "airserve-call-id": call_id}
    return HttpRequest("POST", "/v1/embeddings", headers, msgspec.json.encode(document))


def parse_embeddings(response: HttpResponse) -> npt.NDArray[np.float32]:
    """The embeddings [n, d], in the order of the texts."""
    document = parse_json(response.body)
    try:
        rows = sorted(document["data"], key=lambda row: row["index"])
        return np.stack([np.frombuffer(base64.b64decode(row["embedding"]), "<f4") for row in rows])
    except (KeyError, TypeError, AttributeError, ValueError, binascii.Error):
        raise AirserveError("the answer holds no embeddings; is the URL that of an Airserve service?") from None
