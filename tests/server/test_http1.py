from __future__ import annotations

import asyncio
import ipaddress
import json
import struct
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

import h11
import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airserve.core.errors import AirserveError
from airserve.protocols.encoded import Encoded
from airserve.protocols.open_inference import render_error
from airserve.server import body as request_body
from airserve.server import http1
from airserve.server.body import MAX_PIECES
from airserve.server.http import Request
from airserve.server.http1 import Http1Server

LIMIT = 3_000_000


def introduction(address: str) -> bytes:
    """What the front says before the bytes of a client at `address` (PROXY protocol v2)."""
    ip = ipaddress.ip_address(address)
    family, size = (0x21, 36) if ip.version == 6 else (0x11, 12)
    return b"\r\n\r\n\0\r\nQUIT\n" + struct.pack("!BBH", 0x21, family, size) + ip.packed * 2 + b"\3\xe8\7\xd0"


class Echo:
    """Answers what it was sent: /slow after a second, /unread without reading the body, /stream/… piece by piece."""

    def __init__(self) -> None:
        self.cancelled = 0
        self.streamed = 0
        self.closed = asyncio.Event()
        self.served: list[Request] = []

    async def __call__(self, request: Request) -> Encoded:
        self.served.append(request)
        try:
            if request.path == "/slow":
                await asyncio.sleep(1)
            if request.path == "/unread":
                return Encoded(401, [], [b"no key"])
            body = await request.read(LIMIT)
            if request.path.startswith("/stream/"):
                return Encoded(200, [(b"content-type", b"text/plain")], stream=self._stream(request.path))
        except AirserveError as error:
            return render_error(error)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return Encoded(200, [(b"x-path", request.path.encode())], [b"%s:" % request.method.encode(), body])

    async def _stream(self, path: str) -> AsyncGenerator[bytes, None]:
        """`/stream/COUNT/SIZE[/fail]`: numbered pieces, and nothing more or a failure at the end."""
        count, size, *fail = path.split("/")[2:]
        try:
            for number in range(int(count)):
                await asyncio.sleep(0)
                yield b"%d" % (number % 10) * int(size)
                self.streamed += 1
            if fail:
                raise RuntimeError("the source broke")
        finally:
            self.closed.set()


class Wire:
    """The client's end of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self._rest = b""

    def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.writer.write(piece)

    async def answer(self, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
        """The next response, read by a strict parser."""
        parser = h11.Connection(h11.CLIENT)
        parser.send(h11.Request(method=method, target="/", headers=[("host", "x")]))
        parser.send(h11.EndOfMessage())
        if self._rest:
            parser.receive_data(self._rest)
        head, body = None, b""
        while True:
            event = parser.next_event()
            if event is h11.NEED_DATA:
                parser.receive_data(await asyncio.wait_for(self.reader.read(1 << 16), 10))
            elif isinstance(event, h11.Response):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                break
        self._rest = parser.trailing_data[0]
        assert head is not None
        return head.status_code, {name.decode(): value.decode() for name, value in head.headers}, body

    async def ended(self) -> bool:
        """Whether the server has closed its side and sent nothing more."""
        return self._rest + await asyncio.wait_for(self.reader.read(), 10) == b""


class House:
    def __init__(self, folder: Path) -> None:
        self.path = folder / "s"
        self.echo = Echo()
        self.wires: list[Wire] = []
        self.most_of_one_address = 1000

    async def open(self) -> Wire:
        most = self.most_of_one_address
        self.server = Http1Server(self.echo, [(b"alt-svc", b'h3=":1"')], most_of_one_address=most)
        await self.server.listen_unix(self.path)
        return await self.connect()

    async def connect(self, first: bytes | None = None) -> Wire:
        wire = Wire(*await asyncio.open_unix_connection(str(self.path)))
        wire.send(introduction("192.0.2.7") if first is None else first)
        self.wires.append(wire)
        return wire

    async def close(self) -> None:
        self.server.close()
        for wire in self.wires:
            wire.writer.close()
        await asyncio.sleep(0.01)
        assert not self.server.connections


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    house = House(tmp_path)
    yield house
    await house.close()


def error_of(body: bytes) -> str:
    return str(json.loads(body)["error"])


async def test_a_response_has_length_date_and_the_servers_own_headers(house: House) -> None:
    wire = await house.open()
    wire.send(b"GET /a%20b?q=1 HTTP/1.1\r\nHost: x\r\nX-Name:  v \r\n\r\n")
    status, headers, body = await wire.answer()
    assert (status, body) == (200, b"GET:")
    assert headers["x-path"] == "/a%20b?q=1"
    assert headers["alt-svc"] == 'h3=":1"'
    assert headers["date"].endswith(" GMT")
    (request,) = house.echo.served
    assert request.headers == {b"host": b"x", b"x-name": b"v"}


async def test_pipelined_requests_are_answered_in_order(house: House) -> None:
    wire = await house.open()
    requests = [b"POST /slow HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\na"]
    requests += [b"POST /%d HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n%02d" % (n, n) for n in range(50)]
    wire.send(b"".join(requests))
    assert (await wire.answer())[2] == b"POST:a"
    for n in range(50):
        _, headers, body = await wire.answer()
        assert (headers["x-path"], body) == (f"/{n}", b"POST:%02d" % n)
    wire.send(b"GET /again HTTP/1.1\r\nhost: x\r\n\r\n")
    assert (await wire.answer())[0] == 200


@pytest.mark.parametrize("size", [0, 1, 70_000, 1_000_000, LIMIT])
@pytest.mark.parametrize("chunked", [False, True])
async def test_bodies_of_every_size_arrive_whole(house: House, size: int, chunked: bool) -> None:
    wire = await house.open()
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    for _ in range(2):
        if chunked:
            wire.send(b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
            for start in range(0, size, 30_000):
                piece = body[start : start + 30_000]
                wire.send(b"%x\r\n%s\r\n" % (len(piece), piece))
            wire.send(b"0\r\nAuthorization: Bearer stolen\r\n\r\n")
        else:
            wire.send(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % size, body)
        assert (await wire.answer())[2] == b"POST:" + body
    assert all(b"authorization" not in request.headers for request in house.echo.served)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    bodies=st.lists(st.tuples(st.binary(max_size=5000), st.booleans(), st.booleans()), min_size=1, max_size=5),
    cuts=st.lists(st.integers(1, 3000), min_size=1, max_size=20),
)
def test_where_the_network_cuts_makes_no_difference(
    tmp_path: Path, bodies: list[tuple[bytes, bool, bool]], cuts: list[int]
) -> None:
    async def scenario() -> None:
        house = House(tmp_path)
        house.path.unlink(missing_ok=True)
        wire = await house.open()
        stream = b""
        for body, chunked, upgrade in bodies:
            stream += b"POST / HTTP/1.1\r\nhost: x\r\n" + (UPGRADE if upgrade else b"")
            if chunked:
                piece = b"%x\r\n%s\r\n" % (len(body), body) if body else b""
                stream += b"transfer-encoding: chunked\r\n\r\n" + piece + b"0\r\n\r\n"
            else:
                stream += b"content-length: %d\r\n\r\n%s" % (len(body), body)
        at = 0
        for turn in range(len(stream)):
            if at >= len(stream):
                break
            cut = cuts[turn % len(cuts)]
            wire.send(stream[at : at + cut])
            at += cut
            await wire.writer.drain()
            await asyncio.sleep(0)
        for body, _, _ in bodies:
            assert (await wire.answer())[2] == b"POST:" + body
        await house.close()

    uvloop.run(scenario())


UPGRADE = b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n"


@pytest.mark.parametrize(
    "head",
    [
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\ncontent-length: 36\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: +0\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999999999999999\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding : chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\n transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0x0\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n2\r\nabcd\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        b"GET / HTTP/1.1\nhost: x\n\n",
        b"GET / HTTP/1.1\r\nhost: x\rcontent-length: 9\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\nx: a\0b\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\nhost: y\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/3.7\r\nhost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01",
    ],
)
async def test_what_could_be_read_in_two_ways_is_refused_and_nothing_after_it_is_served(
    house: House, head: bytes
) -> None:
    wire = await house.open()
    wire.send(head + SMUGGLED)
    status, headers, body = await wire.answer()
    assert status == 400
    assert headers["connection"] == "close"
    assert error_of(body)
    assert await wire.ended()
    assert "/smuggled" not in [request.path for request in house.echo.served]
    other = await house.connect()
    other.send(b"GET /well HTTP/1.1\r\nhost: x\r\n\r\n")
    assert (await other.answer())[0] == 200


async def test_answers_that_are_due_come_before_a_refusal(house: House) -> None:
    wire = await house.open()
    wire.send(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n", b"GET /next HTTP/1.1\r\nhost: x\r\n\r\n", b"nonsense\r\n\r\n")
    assert [(await wire.answer())[0] for _ in range(3)] == [200, 200, 400]
    assert await wire.ended()


async def test_a_body_that_breaks_its_framing_ends_its_call(house: House) -> None:
    wire = await house.open()
    wire.send(b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n")
    await asyncio.sleep(0.05)
    wire.send(b"zz\r\n")
    assert (await wire.answer())[0] == 400
    assert await wire.ended()
    assert house.echo.cancelled == 1


@pytest.mark.parametrize("framing", [b"content-length: 3000001", b"transfer-encoding: chunked"])
async def test_a_body_over_the_limit_is_refused_before_it_has_come(house: House, framing: bytes) -> None:
    wire = await house.open()
    wire.send(b"POST / HTTP/1.1\r\nhost: x\r\n" + framing + b"\r\n\r\n")
    if b"chunked" in framing:
        wire.send(b"%x\r\n" % (1 << 40), b"x" * (LIMIT + 1))
    status, _, body = await wire.answer()
    assert status == 413
    assert "3000000 bytes" in error_of(body)
    # Who goes on sending hears the answer all the same.
    wire.send(b"x" * 100_000)
    assert await wire.ended()


async def test_a_refusal_before_the_body_has_come_is_heard_by_who_still_sends(house: House) -> None:
    wire = await house.open()
    wire.send(b"POST /unread HTTP/1.1\r\nhost: x\r\ncontent-length: 2000000\r\n\r\n", b"x" * 2_000_000)
    await wire.writer.drain()
    assert (await wire.answer())[::2] == (401, b"no key")
    assert await wire.ended()


@pytest.mark.parametrize("head", [b"GET /%s HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nhost: x\r\nx: %s"])
async def test_a_head_without_end_is_refused(house: House, head: bytes) -> None:
    wire = await house.open()
    before, _, after = head.partition(b"%s")
    wire.send(before, b"a" * 300_000, after)
    status, _, body = await wire.answer()
    # Over a path that is too long alone, over headers, and which is told.
    assert (status, "65536 bytes" in error_of(body)) == ((431, True) if b"x:" in head else (414, False))


async def test_expect_100_continue_is_told_to_go_on_only_where_the_body_is_wanted(house: House) -> None:
    head = b"POST %s HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n"
    wire = await house.open()
    wire.send(head % b"/")
    assert await wire.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    wire.send(b"ab")
    assert (await wire.answer())[2] == b"POST:ab"
    wire.send(head % b"/unread")
    assert (await wire.answer())[0] == 401
    assert await wire.ended()


async def test_an_offer_of_another_protocol_is_not_taken(house: House) -> None:
    wire = await house.open()
    for _ in range(2):
        wire.send(b"GET /a HTTP/1.1\r\nhost: x\r\n" + UPGRADE + b"\r\n")
        wire.send(b"POST /b HTTP/1.1\r\nhost: x\r\n" + UPGRADE + b"content-length: 35\r\n\r\n" + SMUGGLED)
        assert (await wire.answer())[::2] == (200, b"GET:")
        assert (await wire.answer())[::2] == (200, b"POST:" + SMUGGLED)


async def test_head_tells_the_length_and_sends_no_body(house: House) -> None:
    wire = await house.open()
    wire.send(b"HEAD / HTTP/1.1\r\nhost: x\r\n\r\n", b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    status, headers, body = await wire.answer("HEAD")
    assert (status, headers["content-length"], body) == (200, "5", b"")
    assert (await wire.answer())[2] == b"GET:"


async def test_connections_close_or_stay_as_version_and_header_say(house: House) -> None:
    wire = await house.open()
    wire.send(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n" + SMUGGLED)
    assert (await wire.answer())[1]["connection"] == "close"
    assert await wire.ended()
    wire = await house.connect()
    wire.send(b"GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n")
    assert (await wire.answer())[1]["connection"] == "keep-alive"
    wire.send(b"GET / HTTP/1.0\r\n\r\n")
    assert (await wire.answer())[1]["connection"] == "close"
    assert await wire.ended()


async def test_a_target_in_absolute_form_is_its_path(house: House) -> None:
    wire = await house.open()
    wire.send(b"GET http://x:80/v2?a=b HTTP/1.1\r\nhost: x\r\n\r\n", b"GET HTTPS://x HTTP/1.1\r\nhost: x\r\n\r\n")
    wire.send(b"OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n")
    assert [(await wire.answer())[1]["x-path"] for _ in range(3)] == ["/v2?a=b", "/", "*"]


@pytest.mark.parametrize("sent", [b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n",
                                  b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nabc"])  # fmt: skip
async def test_the_call_of_a_client_that_has_gone_is_cancelled(house: House, sent: bytes) -> None:
    wire = await house.open()
    wire.send(sent)
    await asyncio.sleep(0.05)
    wire.writer.close()
    await asyncio.sleep(0.1)
    assert house.echo.cancelled == 1
    assert not house.server.connections


async def test_who_is_silent_for_too_long_is_dropped(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HEAD_SECONDS", "KEEP_ALIVE_SECONDS"):
        monkeypatch.setattr(http1, name, 0.5)
    monkeypatch.setattr(request_body, "GRACE_SECONDS", 0.5)
    idle = await house.open()
    late = [await house.connect() for _ in range(3)]
    late[0].send(b"GET / HT")
    late[1].send(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nabc")
    late[2].send(b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n")
    for wire in late:
        status, _, text = await wire.answer()
        assert status == 408
        assert "in time" in error_of(text)
    assert await idle.ended()
    await asyncio.sleep(0.1)
    assert house.echo.cancelled == 2


async def test_a_body_that_dribbles_is_dropped_and_one_that_only_is_slow_is_not(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_body, "GRACE_SECONDS", 0.3)
    dribbling, slow = await house.open(), await house.connect()
    for wire in (dribbling, slow):
        wire.send(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 20000\r\n\r\n")
    for _ in range(20):
        dribbling.send(b"x")
        slow.send(b"x" * 1000)
        await asyncio.sleep(0.08)
    assert (await slow.answer())[0] == 200
    assert (await dribbling.answer())[0] == 408


async def test_who_never_reads_is_dropped(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http1, "WRITE_SECONDS", 0.5)
    wire = await house.open()
    wire.send(b"GET /stream/200/65536 HTTP/1.1\r\nhost: x\r\n\r\n")
    await asyncio.wait_for(house.echo.closed.wait(), 10)
    assert house.echo.streamed < 100
    assert not house.server.connections


async def test_a_request_has_a_hundred_headers_at_most(house: House) -> None:
    wire = await house.open()
    fields = b"".join(b"x-%d: a\r\n" % number for number in range(99))
    wire.send(b"GET / HTTP/1.1\r\nhost: x\r\n" + fields + b"\r\n")
    assert (await wire.answer())[0] == 200
    wire.send(b"GET / HTTP/1.1\r\nhost: x\r\n" + fields + b"one-more: a\r\n\r\n")
    status, _, text = await wire.answer()
    assert (status, "100 header fields" in error_of(text)) == (431, True)


async def test_a_body_comes_in_65536_chunks_at_most(house: House) -> None:
    wire = await house.open()
    for count in (MAX_PIECES, MAX_PIECES + 1):
        wire.send(
            b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n", b"1\r\na\r\n" * count + b"0\r\n\r\n"
        )
        if count == MAX_PIECES:
            assert len((await wire.answer())[2]) == MAX_PIECES + 5
    status, _, text = await wire.answer()
    assert (status, "chunks" in error_of(text)) == (400, True)


async def test_an_address_holds_so_many_connections_and_the_machines_own_any(house: House) -> None:
    house.most_of_one_address = 2
    request = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
    wires = [await house.open(), await house.connect(), await house.connect()]
    other = await house.connect(introduction("192.0.2.8"))
    own = [await house.connect(introduction("127.0.0.1")) for _ in range(4)]
    for wire in (*wires, other, *own):
        wire.send(request)
    assert [(await wire.answer())[0] for wire in (*wires, other, *own)] == [200, 200, 429] + [200] * 5
    assert await wires[2].ended()
    wires[0].writer.close()
    await asyncio.sleep(0.05)
    again = await house.connect()
    again.send(request)
    assert (await again.answer())[0] == 200


async def test_who_calls_is_known_by_what_the_front_says(house: House) -> None:
    wire = await house.open()
    wire.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    await wire.answer()
    other = await house.connect(introduction("2001:db8::7"))
    other.send(b"GET / HTTP/1.1\r\nhost: x\r\nx-forwarded-for: 192.0.2.9\r\n\r\n")
    await other.answer()
    assert [request.client for request in house.echo.served] == ["192.0.2.7", "2001:db8::7"]
    stranger = await house.connect(b"")
    stranger.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    assert (await stranger.answer())[0] == 400


async def test_a_slow_reader_holds_back_only_itself(house: House) -> None:
    slow = await house.open()
    body = b"x" * LIMIT
    for _ in range(8):
        slow.send(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % LIMIT, body)
    await asyncio.sleep(0.2)
    assert len(house.echo.served) < 8
    other = await house.connect()
    other.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    assert (await other.answer())[0] == 200
    for _ in range(8):
        assert len((await slow.answer())[2]) == LIMIT + 5


async def test_a_body_of_unknown_length_comes_in_chunks_and_the_connection_stays(house: House) -> None:
    wire = await house.open()
    wire.send(b"GET /stream/3/2 HTTP/1.1\r\nhost: x\r\n\r\nGET /next HTTP/1.1\r\nhost: x\r\n\r\n")
    status, headers, body = await wire.answer()
    assert (status, headers["transfer-encoding"], body) == (200, "chunked", b"001122")
    assert "content-length" not in headers
    assert (await wire.answer())[1]["x-path"] == "/next"


async def test_a_stream_to_http_1_0_ends_with_the_connection(house: House) -> None:
    wire = await house.open()
    wire.send(b"GET /stream/3/2 HTTP/1.0\r\n\r\n")
    _, headers, body = await wire.answer()
    assert ("transfer-encoding" in headers, headers["connection"], body) == (False, "close", b"001122")
    assert await wire.ended()


async def test_head_of_a_stream_starts_none(house: House) -> None:
    wire = await house.open()
    wire.send(b"HEAD /stream/3/2 HTTP/1.1\r\nhost: x\r\n\r\n")
    status, _, body = await wire.answer("HEAD")
    assert (status, body, house.echo.streamed) == (200, b"", 0)


async def test_a_stream_that_breaks_is_cut_off_so_that_nobody_takes_it_for_whole(house: House) -> None:
    wire = await house.open()
    wire.send(b"GET /stream/2/3/fail HTTP/1.1\r\nhost: x\r\n\r\n")
    received = await asyncio.wait_for(wire.reader.read(), 10)
    assert b"111" in received
    assert not received.endswith(b"0\r\n\r\n")


async def test_a_stream_is_closed_as_soon_as_its_client_has_gone(house: House) -> None:
    wire = await house.open()
    wire.send(b"GET /stream/1000000000/1 HTTP/1.1\r\nhost: x\r\n\r\n")
    await wire.reader.readuntil(b"0\r\n")
    wire.writer.close()
    await asyncio.wait_for(house.echo.closed.wait(), 10)


async def test_a_stream_waits_for_a_slow_reader_instead_of_piling_up(house: House) -> None:
    wire = await house.open()
    wire.send(b"GET /stream/200/65536 HTTP/1.1\r\nhost: x\r\n\r\n")
    await wire.reader.readuntil(b"\r\n\r\n")
    for _ in range(200):
        await asyncio.sleep(0)
    assert house.echo.streamed < 100
    _, _, body = await _rest_of_stream(wire)
    assert len(body) == 200 * 65536


async def _rest_of_stream(wire: Wire) -> tuple[int, dict[str, str], bytes]:
    """What is left of a chunked answer whose head was read already."""
    wire._rest = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    return await wire.answer()
