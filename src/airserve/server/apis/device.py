"""Device bundles as HTTP gives them: with a tag for caches, and in parts, for links that break.

Source: RFC 9110, sections 8.8.3 (ETag), 13.1.2 (If-None-Match), 13.1.5 (If-Range) and 14 (Range).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from airserve.models.device_bundle import check_bundled
from airserve.protocols.byte_ranges import from_range
from airserve.protocols.encoded import Encoded, Headers
from airserve.server.device_bundles import DeviceBundle
from airserve.server.runtime import Runtime
from airserve.serving.service import Served

_NOTHING: Mapping[bytes, bytes] = {}
_PIECE = 256 << 10


async def device_bundle(runtime: Runtime, served: Served, headers: Mapping[bytes, bytes] = _NOTHING) -> Encoded:
    """The bundle of a version, or what the `headers` of the request ask for of it.

    Who may have it is the caller's to decide. Raises `NotFoundError` for a model that is not for devices.
    """
    check_bundled(served.spec.manifest, served.spec.model)
    bundles = runtime.memories.bundles
    bundle = bundles.known(served.spec)
    if bundle is None:
        bundle = await asyncio.to_thread(bundles.make, served.spec)
    return answer(bundle, headers)


def answer(bundle: DeviceBundle, headers: Mapping[bytes, bytes]) -> Encoded:
    """200 with all of it, 206 with the rest, 304 for who has it, 416 for who asks for what lies beyond its end."""
    tag = b'"%s"' % bundle.sha256.encode()
    about: Headers = [(b"etag", tag), (b"cache-control", b"private, no-cache")]
    if _names(headers.get(b"if-none-match", b""), tag):
        return Encoded(304, about)
    view = memoryview(bundle.content)
    pieces: list[bytes | memoryview] = [view[at : at + _PIECE] for at in range(0, len(view), _PIECE)]
    whole = Encoded(200, [(b"content-type", b"application/octet-stream"), *about], pieces)
    # A part of another bundle than the one that was begun is no use.
    return from_range(whole, headers.get(b"range") if headers.get(b"if-range", tag) == tag else None)


def _names(listed: bytes, tag: bytes) -> bool:
    return listed.strip() == b"*" or tag in [each.strip().removeprefix(b"W/") for each in listed.split(b",")]
