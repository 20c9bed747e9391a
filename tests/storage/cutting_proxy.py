"""A way to a PostgreSQL server that breaks at the moment of a COMMIT: just before it, or just after."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

_SOCKET = ".s.PGSQL.5432"


class CuttingProxy:
    """Passes bytes on. Where `cut` says `before`, the next COMMIT never arrives; `after`: its answer does not."""

    def __init__(self, server: str, listener: socket.socket) -> None:
        self.cut: str | None = None
        self._server = server
        self._listener = listener
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        server = socket.socket(socket.AF_UNIX)
        server.connect(self._server)
        back = threading.Thread(target=_pump, args=(server, client), daemon=True)
        back.start()
        with suppress(OSError):
            while data := client.recv(65536):
                if self.cut and b"COMMIT" in data:
                    when, self.cut = self.cut, None
                    client.shutdown(socket.SHUT_RDWR)
                    if when == "after":
                        server.sendall(data)
                        back.join(10)
                    break
                server.sendall(data)
        for each in (server, client):
            with suppress(OSError):
                # Closing alone does not wake the other thread, which reads from it.
                each.shutdown(socket.SHUT_RDWR)
            each.close()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    """Pass on what the server says, until one side has gone or the COMMIT was answered to nobody."""
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)


@contextmanager
def cutting_proxy(url: str, folder: Path) -> Iterator[tuple[CuttingProxy, str]]:
    """A proxy in front of the server of `url`, and the URL through it."""
    directory = parse_qs(urlsplit(url).query)["host"][0]
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / _SOCKET))
        listener.listen()
        yield CuttingProxy(f"{directory}/{_SOCKET}", listener), url.replace(directory, str(folder))
