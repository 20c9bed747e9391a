"""Clients over a few connections, each of which remembers the calls it has seen any byte of an answer of."""

from __future__ import annotations

import contextlib
import itertools
import json
import random
import socket
import struct
import threading
import time
from dataclasses import dataclass, field

MODEL = "linear"
STREAMS = "words"
"""A model that streams `WORDS` words, one a token."""
WORDS = 60
WORD = " word"
BODY = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 1, 1, 1]}]}).encode()
STREAM_BODY = json.dumps({"model": STREAMS, "prompt": "on", "stream": True, "max_tokens": WORDS}).encode()
# PROXY protocol v2, LOCAL: what the front writes first on a connection of its own.
_LOCAL = b"\r\n\r\n\0\r\nQUIT\n" + struct.pack("!BBH", 0x20, 0, 0)
_numbers = itertools.count()
KEYED = "keyed-"


@dataclass
class Transcript:
    """What the clients know. `sent` may have been recorded, `answered` must have been, `refused` must cost nothing."""

    project_id: str = ""
    """Of the key that they call with."""
    sent: set[str] = field(default_factory=set)
    answered: set[str] = field(default_factory=set)
    refused: int = 0
    keyed: list[str] = field(default_factory=list)
    """Answered calls that brought an Idempotency-Key."""
    open: list[str] = field(default_factory=list)
    """Calls that were sent and not answered: the next clients send them again, under the same id."""
    counted: int = 0
    """Answered calls that were compared with the ledger already."""
    streams: dict[str, int | None] = field(default_factory=dict)
    """How many words came of each stream; None where no byte of a good answer did."""
    counted_streams: int = 0


@dataclass(frozen=True)
class Place:
    """Where a service answers: a Unix domain socket behind a front, or a TCP port."""

    address: str | tuple[str, int]

    def connect(self) -> socket.socket:
        """A new connection; raises `OSError` while nobody listens."""
        if isinstance(self.address, tuple):
            return socket.create_connection(self.address, timeout=5)
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(5)
        connection.connect(self.address)
        connection.sendall(_LOCAL)
        return connection


class Load:
    """`connections` clients that call until they are told to stop, or the service dies."""

    def __init__(self, place: Place, key: str, transcript: Transcript, connections: int, seed: int) -> None:
        self._place = place
        self._key = key
        self._transcript = transcript
        self._stop = threading.Event()
        self.first_answer = threading.Event()
        self.answers = 0
        self._threads = [
            threading.Thread(target=self._call, args=(random.Random(f"{seed}-{number}"),), daemon=True)
            for number in range(connections)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let every client end; those of a dead service have ended."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _call(self, chance: random.Random) -> None:
        connection = self._connected()
        if connection is None:
            return
        with contextlib.closing(connection):
            while not self._stop.is_set():
                usable = (
                    self._stream(connection, f"stream-{next(_numbers)}")
                    if chance.random() < 0.1
                    else self._one(connection, self._next_id(chance))
                )
                if not usable:
                    break

    def _connected(self) -> socket.socket | None:
        """A connection, as soon as the service listens."""
        while not self._stop.is_set():
            try:
                return self._place.connect()
            except OSError:
                time.sleep(0.002)
        return None

    def _next_id(self, chance: random.Random) -> str:
        # `pop` and `add` are atomic; a list is shared by all clients.
        if self._transcript.open and chance.random() < 0.5:
            with contextlib.suppress(IndexError):
                return self._transcript.open.pop()
        # Every fourth brings an Idempotency-Key: its answer is kept, and some ask for it again.
        number = next(_numbers)
        if number % 4 == 0 and self._transcript.keyed and chance.random() < 0.3:
            return chance.choice(self._transcript.keyed)
        return f"call-{number}" if number % 4 else f"{KEYED}{number}"

    def _one(self, connection: socket.socket, call_id: str) -> bool:
        """Make one call; whether the connection can take another."""
        keyed = call_id.startswith(KEYED)
        name = "Idempotency-Key" if keyed else "Airserve-Call-Id"
        head = (
            f"POST /v2/models/{MODEL}/infer HTTP/1.1\r\nHost: campaign\r\nAuthorization: Bearer {self._key}\r\n"
            f"{name}: {call_id}\r\nContent-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n"
        )
        self._transcript.sent.add(call_id)
        received = b""
        try:
            connection.sendall(head.encode() + BODY)
            while not _is_whole(received):
                piece = connection.recv(65536)
                if not piece:
                    break
                received += piece
        except OSError:
            pass
        if received and not received.startswith(b"HTTP/1.1 200") and len(received) >= 12:
            self._transcript.refused += 1
            self._transcript.open.append(call_id)
        elif received:
            # One byte of an answer is an answer.
            if keyed and call_id not in self._transcript.answered:
                self._transcript.keyed.append(call_id)
            self._transcript.answered.add(call_id)
            self.answers += 1
            self.first_answer.set()
        else:
            self._transcript.open.append(call_id)
        return _is_whole(received)

    def _stream(self, connection: socket.socket, call_id: str) -> bool:
        """Ask for one stream and count its words; whether the connection can take another call."""
        head = (
            f"POST /v1/completions HTTP/1.1\r\nHost: campaign\r\nAuthorization: Bearer {self._key}\r\n"
            f"Airserve-Call-Id: {call_id}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(STREAM_BODY)}\r\n\r\n"
        )
        self._transcript.streams[call_id] = None
        received = b""
        with contextlib.suppress(OSError):
            connection.sendall(head.encode() + STREAM_BODY)
            while not (received.endswith(b"0\r\n\r\n") or _is_whole(received)):
                piece = connection.recv(65536)
                if not piece:
                    break
                received += piece
                if received.startswith(b"HTTP/1.1 200"):
                    self._transcript.streams[call_id] = received.count(f'"{WORD}"'.encode())
        return received.endswith(b"0\r\n\r\n") or _is_whole(received)


def _is_whole(received: bytes) -> bool:
    head, end, body = received.partition(b"\r\n\r\n")
    if not end:
        return False
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return bool(lengths) and len(body) >= int(lengths[0].split(b":")[1])
