"""Fetch a bundle for the device, from where an interrupted download ended."""

from __future__ import annotations

from pathlib import Path

from airserve.client.calls import Settings
from airserve.client.exchange import HttpRequest, HttpResponse, model_path, raise_for
from airserve.client.link.bundle_cache import BundleCache
from airserve.client.link.paths import Paths
from airserve.client.transport import NETWORK_ERRORS, lower_headers, no_answer
from airserve.core.errors import TooLargeError

MAX_BYTES = 2 << 30


async def fetch(
    paths: Paths, settings: Settings, cache: BundleCache, model: str, version: str | int | None, sha256: str
) -> Path:
    """The bundle of a model as a file, fetched if it is not there yet, and checked against `sha256`.

    Raises `UnreachableError` where the link breaks (what came is kept), and the service's refusals.
    """
    if (found := cache.find(sha256)) is not None:
        return found
    path = f"{model_path(model, None if version is None else str(version))}/device"
    held = cache.held_bytes(sha256)
    headers = settings.headers(HttpRequest("GET", path, {}), None)
    if held:
        headers["range"] = f"bytes={held}-"
    async with paths.download(path, headers) as response:
        if response.status not in (200, 206, 416):
            parts = [bytes(part) async for part in response.content]
            raise_for(HttpResponse(response.status, lower_headers(response.headers), b"".join(parts)))
        if response.status != 416:
            try:
                with cache.part(sha256).open("ab" if response.status == 206 else "wb") as file:
                    async for part in response.content:
                        file.write(bytes(part))
                        if file.tell() > MAX_BYTES:
                            raise TooLargeError(f"the bundle of {model} is larger than {MAX_BYTES >> 20} MiB")
            except NETWORK_ERRORS as error:
                raise no_answer(settings.url, error, None) from error
    return cache.complete(sha256)
