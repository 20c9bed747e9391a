"""Which network the device is on, as far as a program can tell: the address that it would send from."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit


class NetworkWatch:
    """Tells networks apart by the local address towards one server. Sends nothing; looks the name up once."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._target: tuple[int, tuple[str, int]] | None = None

    def address(self) -> str | None:
        """The local address; None where no way leads to the server, as in aeroplane mode."""
        try:
            if self._target is None:
                family, _, _, _, target = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_DGRAM)[0]
                self._target = (family, (str(target[0]), int(target[1])))
            with socket.socket(self._target[0], socket.SOCK_DGRAM) as probe:
                probe.connect(self._target[1])
                return str(probe.getsockname()[0])
        except OSError:
            return None
