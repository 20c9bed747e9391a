"""Where clients find the key to seal to: `/sealed/NAME` and `/sealed/NAME/versions/NUMBER`."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote

import msgspec

from airserve.codecs.sealed_key import KeyDocument, SignedKey
from airserve.core.errors import NotFoundError
from airserve.protocols.encoded import Encoded
from airserve.protocols.wrong_method import WrongMethodError


@dataclass(frozen=True, slots=True)
class Route:
    """The model that the path names; `version` None means whatever its alias points at."""

    model: str
    version: str | None = None


def match(method: str, path: str) -> Route:
    """The route of a request; `path` is percent-encoded. Raises `NotFoundError` or `MethodNotAllowedError`."""
    parts = [unquote(part) for part in path.partition("?")[0].strip("/").split("/")]
    named = parts[2:3] == ["versions"] and len(parts) == 4
    if parts[0] != "sealed" or (len(parts) != 2 and not named):
        raise NotFoundError("Not Found; the key of a model is at /sealed/NAME")
    if method != "GET":
        raise WrongMethodError("GET")
    return Route(parts[1], parts[3] if named else None)


def render_key(identity: str, key: SignedKey) -> Encoded:
    """The signed key, and the identity that signed it. It may not be cached: it changes with the worker."""
    body = msgspec.json.encode(KeyDocument(identity, key))
    return Encoded(200, [(b"content-type", b"application/json"), (b"cache-control", b"no-store")], [body])
