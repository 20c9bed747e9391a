"""The client's end of a connection of HTTP/2, as low as its frames, for what no client library would send."""

from __future__ import annotations

import contextlib
import socket
from types import TracebackType

import h2.config
import h2.connection
import h2.events
import h2.exceptions


class H2Wire:
    """A connection with the preface sent. Frames are made by `h2`, or written by hand with `send`."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.port = port
        self.ended = False
        self.headers: dict[str, str] = {}
        self.h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(validate_outbound_headers=False, normalize_outbound_headers=False)
        )
        self.h2.initiate_connection()
        self.flush()

    def __enter__(self) -> H2Wire:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def flush(self) -> None:
        self.send(self.h2.data_to_send())

    def begin(self, method: str, path: str, headers: dict[str, str], *, ends: bool) -> int:
        """The head of a request, kept back until `flush`; its stream."""
        stream = self.h2.get_next_available_stream_id()
        pseudo = [(":method", method), (":scheme", "http"), (":path", path), (":authority", f"127.0.0.1:{self.port}")]
        self.h2.send_headers(stream, [*pseudo, *headers.items()], end_stream=ends)
        return stream

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> dict[str, str]:
        """Header fields and trailers of the answer to one request."""
        stream = self.begin(method, path, headers, ends=not body)
        for start in range(0, len(body), 16384):
            self.h2.send_data(stream, body[start : start + 16384], end_stream=start + 16384 >= len(body))
        self.flush()
        found: dict[str, str] = {}
        while not self.ended:
            for event in self.events():
                if isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
                    found |= {name.decode(): value.decode() for name, value in event.headers}
                elif isinstance(event, h2.events.StreamEnded | h2.events.StreamReset):
                    return found
        return found

    def events(self) -> list[h2.events.Event]:
        """What the service says next; nothing at the end of the connection."""
        data = b""
        with contextlib.suppress(ConnectionError):
            data = self.socket.recv(65536)
        if not data:
            self.ended = True
            return []
        events = self.h2.receive_data(data)
        for event in events:
            if isinstance(event, h2.events.DataReceived):
                self.h2.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id)
        with contextlib.suppress(ConnectionError):
            self.flush()
        return events

    def goodbye(self) -> int:
        """Read to the end of the connection; the error code of GOAWAY, -1 where there was none.

        Frames are read here, since `h2` stops at the first that answers what it has not sent itself. Raises
        TimeoutError where the connection does not end.
        """
        data, code = b"", -1
        with contextlib.suppress(ConnectionError):
            while piece := self.socket.recv(65536):
                data += piece
        self.ended = True
        while len(data) >= 9:
            if data[3] == 7:
                code = int.from_bytes(data[13:17], "big")
            data = data[9 + int.from_bytes(data[:3], "big") :]
        return code
