"""Which content coding a reply takes, by the client's `Accept-Encoding` (RFC 9110 §12.5.3)."""

from __future__ import annotations

import re
from functools import lru_cache

_OFFERED = ("gzip", "deflate")
_ITEM = re.compile(r"\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*(?:;\s*[qQ]\s*=\s*([01](?:\.\d{0,3})?))?\s*")


@lru_cache(maxsize=256)
def preferred_coding(accept_encoding: bytes) -> str | None:
    """The coding that the client weighs most, gzip before deflate where equal; None where it wants none of them.

    Items that are malformed are ignored: a header that cannot be read never costs a caller its answer.
    """
    weights: dict[str, float] = {}
    for item in accept_encoding[:1024].decode("latin-1").split(","):
        match = _ITEM.fullmatch(item)
        if match is not None:
            weights[match[1].lower()] = float(match[2] or 1)
    rest = weights.get("*", 0.0)
    best = max(_OFFERED, key=lambda coding: weights.get(coding, rest))
    weight = weights.get(best, rest)
    return best if weight > 0 and weight >= weights.get("identity", 0.0) else None
