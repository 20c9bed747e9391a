"""The page that shows the document: one file of ours, which loads nothing from anywhere else."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from airserve.protocols.encoded import Encoded

_POLICY = (
    b"default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def page() -> Encoded:
    """The page, under a policy that keeps the reader's key on this server."""
    headers = [(b"content-type", b"text/html; charset=utf-8"), (b"content-security-policy", _POLICY)]
    return Encoded(200, headers, [_text()])


@cache
def _text() -> bytes:
    return files("airserve.protocols.openapi").joinpath("page.html").read_bytes()
