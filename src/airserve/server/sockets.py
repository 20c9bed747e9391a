"""What the supervisor, the front and the serving process agree on.

The supervisor tells the serving process its settings, its sockets and who may drain it in the environment. The front
hands over connections that speak HTTP/1.1 by Unix domain sockets in a folder of the user's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

SETTINGS_VARIABLE = "AIRSERVE_RUN_SETTINGS"
SOCKETS_VARIABLE = "AIRSERVE_RUN_SOCKETS"
DRAIN_TOKEN_VARIABLE = "AIRSERVE_RUN_DRAIN_TOKEN"  # noqa: S105  # the name of a variable, not a secret


@dataclass(frozen=True, slots=True)
class Sockets:
    """The folder's two sockets, by what came over the wire; the front has taken TLS off already."""

    folder: Path

    @property
    def plain(self) -> Path:
        """Connections that came in plaintext."""
        return self.folder / "http1.sock"

    @property
    def tls(self) -> Path:
        """Connections that came over TLS."""
        return self.folder / "http1-tls.sock"


def alt_svc(port: int) -> str:
    """The value of `Alt-Svc` that tells clients of HTTP/1.1 and HTTP/2 that HTTP/3 is on the same port (RFC 7838)."""
    return f'h3=":{port}"; ma=86400'
