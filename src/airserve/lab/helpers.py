"""The helper processes of an emulation, and the sockets over which they are asked."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from typing import Any

from airserve.core.errors import UnreachableError

_SECONDS = 20.0


class Helper:
    """A process of this package that answers one document of JSON with another, until its socket is closed."""

    def __init__(self, module: str, arguments: list[str], *, fds: tuple[int, ...] = ()) -> None:
        ours, theirs = socket.socketpair()
        ours.settimeout(_SECONDS)
        self.socket = ours
        self._module = module
        command = [sys.executable, "-m", module, str(theirs.fileno()), *arguments]
        # A session of its own: Ctrl-C at the terminal is for the owner, who then ends its helpers in order.
        self.process = subprocess.Popen(
            command, pass_fds=(theirs.fileno(), *fds), stdin=subprocess.DEVNULL, start_new_session=True
        )
        theirs.close()

    def ask(self, document: dict[str, Any]) -> dict[str, Any]:
        """Send a document, and wait for the answer. Raises UnreachableError where the process has gone."""
        return self.ask_with_fds(document, 0)[0]

    def ask_with_fds(self, document: dict[str, Any] | None, most_fds: int) -> tuple[dict[str, Any], list[int]]:
        """The same where file descriptors come with the answer; without a document it waits only."""
        received, fds = bytearray(), list[int]()
        try:
            if document is not None:
                self.socket.sendall(json.dumps(document).encode() + b"\n")
            while not received.endswith(b"\n"):
                data, new, _, _ = socket.recv_fds(self.socket, 1 << 20, most_fds)
                if not data:
                    break
                received += data
                fds += new
        except OSError as error:
            raise UnreachableError(f"the emulator's process {self._module} does not answer: {error}") from None
        if not received:
            raise UnreachableError(f"the emulator's process {self._module} ended; its errors are above")
        answer: dict[str, Any] = json.loads(received)
        return answer, fds

    def close(self) -> None:
        """End the process: it goes when its socket closes, and is killed where it does not."""
        self.socket.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
