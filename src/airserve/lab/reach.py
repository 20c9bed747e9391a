"""Let a port of the host's loopback answer inside an emulation, at the same port of `cloud`: TCP and UDP.

The listening sockets are made inside `cloud`, and the connections to 127.0.0.1 outside: so a service that runs on the
host is reached over the emulated link, without a change to it.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from functools import partial
from types import TracebackType
from typing import Self

from airserve.lab.emulation import Emulation

_HOST = "127.0.0.1"
_BLOCK = 65536
_MOST_SENDERS = 1024


class Reach:
    """A context manager that forwards these ports on a thread of its own while it is open."""

    def __init__(self, emulation: Emulation, ports: list[int]) -> None:
        self._sockets = [emulation.listening_in_cloud(port) for port in ports]
        self._ports = ports
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="reach", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._serve(), self._loop).result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(_cancel_all(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _serve(self) -> None:
        for port, (stream_fd, datagram_fd) in zip(self._ports, self._sockets, strict=True):
            await asyncio.start_server(partial(_stream, port), sock=socket.socket(fileno=stream_fd))
            await self._loop.create_datagram_endpoint(partial(_Datagrams, port), sock=socket.socket(fileno=datagram_fd))


async def _stream(port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One TCP connection from inside, until both sides have ended it."""
    try:
        there_reader, there_writer = await asyncio.open_connection(_HOST, port)
    except OSError:
        writer.transport.abort()  # nobody listens on the host
        return
    try:
        await asyncio.gather(_copy(reader, there_writer), _copy(there_reader, writer))
    except asyncio.CancelledError:
        pass  # the emulation ends, and its connections with it
    finally:
        there_writer.close()
        writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(_BLOCK):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except OSError:
        writer.transport.abort()


class _Datagrams(asyncio.DatagramProtocol):
    """The socket inside: each sender has a socket of its own outside, so that answers find their way back."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._outside: dict[tuple[str, int], asyncio.DatagramTransport] = {}
        self._inside: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket inside is open."""
        if isinstance(transport, asyncio.DatagramTransport):
            self._inside = transport

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        """Pass it on to the host."""
        there = self._outside.get(address)
        if there is None or there.is_closing():
            asyncio.get_running_loop().create_task(self._open(address, data))
        else:
            there.sendto(data)

    async def _open(self, address: tuple[str, int], data: bytes) -> None:
        there, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            partial(_Answers, self._inside, address), remote_addr=(_HOST, self._port)
        )
        if len(self._outside) >= _MOST_SENDERS:
            self._outside.pop(next(iter(self._outside))).close()
        self._outside[address] = there
        there.sendto(data)


class _Answers(asyncio.DatagramProtocol):
    """A socket outside: what the host answers goes back to the one sender inside."""

    def __init__(self, inside: asyncio.DatagramTransport | None, address: tuple[str, int]) -> None:
        self._inside = inside
        self._address = address

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        """Pass it on to the sender."""
        if self._inside is not None:
            self._inside.sendto(data, self._address)


async def _cancel_all() -> None:
    tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
