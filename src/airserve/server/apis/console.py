"""`/console`: the files of the web console, for everybody; what they show is asked of `/control`, with a key."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from airserve.core.errors import AirserveError, NotFoundError
from airserve.protocols import open_inference as oip
from airserve.protocols.encoded import Encoded
from airserve.protocols.wrong_method import WrongMethodError
from airserve.server.http import Request

# Nothing from elsewhere runs, nothing inline does, and no text becomes markup. Sources: W3C, Content Security Policy
# Level 3; Trusted Types.
_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; "
    b"form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEADERS = (
    (b"content-security-policy", _POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cache-control", b"no-cache"),
)
_TYPES = {
    "html": b"text/html; charset=utf-8",
    "js": b"text/javascript; charset=utf-8",
    "css": b"text/css; charset=utf-8",
}
_FIRST = "index.html"


@dataclass(frozen=True, slots=True)
class _File:
    content_type: bytes
    etag: bytes
    content: bytes


class ConsoleApi:
    """The files, by their names; there are no others."""

    prefix = "/console"

    async def handle(self, request: Request) -> Encoded:
        """One file; 304 where the browser has it already."""
        name = request.path.partition("?")[0].removeprefix(self.prefix).strip("/") or _FIRST
        file = _files().get(name)
        if file is None:
            raise NotFoundError("Not Found")
        if request.method not in ("GET", "HEAD"):
            raise WrongMethodError("GET")
        headers = [*_HEADERS, (b"etag", file.etag)]
        if request.headers.get(b"if-none-match") == file.etag:
            return Encoded(304, headers, [])
        return Encoded(200, [(b"content-type", file.content_type), *headers], [file.content])

    def render_error(self, error: AirserveError) -> Encoded:
        """As on `/v2`."""
        return oip.render_error(error)


@cache
def _files() -> dict[str, _File]:
    found = {}
    for path in files("airserve.console").iterdir():
        content_type = _TYPES.get(path.name.rpartition(".")[2])
        if content_type is not None:
            content = path.read_bytes()
            etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'.encode()
            found[path.name] = _File(content_type, etag, content)
    return found
