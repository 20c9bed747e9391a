"""What one tenant's calls take while others attack, with and without them, and what the server's memory grows to."""

from __future__ import annotations

import contextlib
import gzip
import resource
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import calls, in_process, models, report, service
from benchmarks.calls import RestCall
from benchmarks.cpu import tree_resident_bytes
from benchmarks.load import Measurement, http1_request

CONNECTIONS = 8
SECONDS = 1.5
ROUNDS = 3
IDLE = 10_000
SLOW = 2_000
_OWN_FILES = 500

Attack = Callable[[service.Service], contextlib.AbstractContextManager[int]]


@dataclass(frozen=True, slots=True)
class Result:
    """A kind of attack: how many connections it held, the good calls without and with it, and the memory as a share."""

    held: int
    quiet: list[Measurement]
    attacked: list[Measurement]
    memory: float

    @property
    def p99_ratio(self) -> float:
        """The median of the rounds, each against the quiet one just before it."""
        pairs = zip(self.quiet, self.attacked, strict=True)
        return sorted(attacked.p99_ms / quiet.p99_ms for quiet, attacked in pairs)[len(self.quiet) // 2]


def main() -> None:
    """Measure and publish."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    row = models.rows(models.MLP_INPUT)
    with tempfile.TemporaryDirectory(prefix="airserve-bench-") as folder:
        file = models.build(Path(folder), "tiny")["tiny"]
        with service.airserve([service.Publication("tiny", file)]) as ours:
            call = calls.binary_call(ours, "tiny", row, in_process.answer(file, row))
            call.measure(connections=CONNECTIONS, seconds=SECONDS)
            results = {name: _measure(ours, call, attack) for name, attack in ATTACKS.items()}
    _publish(results)


def _measure(ours: service.Service, call: RestCall, attack: Attack) -> Result:
    quiet, attacked, memory, most = [], [], 0.0, 0
    for _ in range(ROUNDS):
        quiet.append(call.measure(connections=CONNECTIONS, seconds=SECONDS))
        before = tree_resident_bytes(ours.pid)
        with attack(ours) as held:
            attacked.append(call.measure(connections=CONNECTIONS, seconds=SECONDS))
            most = max(most, held)
            memory = max(memory, tree_resident_bytes(ours.pid) / before)
    return Result(most, quiet, attacked, memory)


def _address(ours: service.Service) -> tuple[str, int]:
    return "127.0.0.1", int(ours.http_url.rsplit(":", 1)[1])


@contextlib.contextmanager
def _connections(ours: service.Service, count: int, said: bytes, answered: bool) -> Iterator[list[socket.socket]]:
    """As many of `count` connections as there are files for, here and in the server; each has said `said`."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = min(count, hard - _OWN_FILES, (hard - 1000) // 3 - 50)
    with contextlib.ExitStack() as stack:
        opened = []
        for _ in range(most):
            connection = stack.enter_context(socket.create_connection(_address(ours), timeout=30))
            connection.sendall(said)
            if answered and b" 200 " not in connection.recv(4096):
                raise RuntimeError("the service does not answer the connections that are to idle")
            opened.append(connection)
        yield opened


@contextlib.contextmanager
def idle(ours: service.Service) -> Iterator[int]:
    """Connections that were answered once and say nothing more, as phones' do."""
    said = b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\n\r\n"
    with _connections(ours, IDLE, said, answered=True) as opened:
        yield len(opened)


@contextlib.contextmanager
def slow(ours: service.Service) -> Iterator[int]:
    """Bodies that come a byte a second (slowloris)."""
    said = http1_request(ours.http_url + "/v2/models/tiny/infer", {"authorization": f"Bearer {ours.key}"}, b"")
    said = said.replace(b"content-length: 0", b"content-length: 100000")
    ended = threading.Event()
    with _connections(ours, SLOW, said, answered=False) as opened:

        def dribble() -> None:
            while not ended.wait(1):
                for connection in opened:
                    with contextlib.suppress(OSError):
                        connection.send(b"x")

        thread = threading.Thread(target=dribble)
        thread.start()
        try:
            yield len(opened)
        finally:
            ended.set()
            thread.join()


@contextlib.contextmanager
def bombs(ours: service.Service) -> Iterator[int]:
    """A body of 64 KB that inflates to 64 MB, ten times a second."""
    headers = {"authorization": f"Bearer {ours.key}", "content-encoding": "gzip"}
    bomb = http1_request(ours.http_url + "/v2/models/tiny/infer", headers, gzip.compress(bytes(64 << 20)))
    ended = threading.Event()
    with _connections(ours, 1, b"", answered=False) as (connection,):

        def throw() -> None:
            while not ended.wait(0.1):
                connection.sendall(bomb)
                answer = connection.recv(65536)
                if b" 413 " not in answer:
                    raise RuntimeError(f"a bomb was answered {answer[:100]!r}")

        thread = threading.Thread(target=throw)
        thread.start()
        try:
            yield 1
        finally:
            ended.set()
            thread.join()


@contextlib.contextmanager
def resets(ours: service.Service) -> Iterator[int]:
    """Streams of HTTP/2 that are begun and reset at once, until the front hangs up, and so on (CVE-2023-44487)."""
    # Made once: what the attacker computes would be taken from the tenant's load generator beside it.
    begun = [_frame(1, 5, stream, b"\x82\x86\x84\x41\x01x") for stream in range(1, 4001, 2)]
    reset = [_frame(3, 0, stream, b"\0\0\0\x08") for stream in range(1, 4001, 2)]
    pairs = b"".join(map(bytes.__add__, begun, reset))
    said = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(4, 0, 0, b"") + pairs
    ended = threading.Event()

    def flood() -> None:
        while not ended.wait(0.05):
            with contextlib.suppress(OSError), socket.create_connection(_address(ours), timeout=5) as connection:
                connection.sendall(said)

    thread = threading.Thread(target=flood)
    thread.start()
    try:
        yield 1
    finally:
        ended.set()
        thread.join()


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """RFC 9113 §4.1."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


ATTACKS: dict[str, Attack] = {
    "idle connections": idle,
    "bodies at a byte a second": slow,
    "gzip bombs": bombs,
    "rapid resets of HTTP/2": resets,
}


def _publish(results: dict[str, Result]) -> None:
    columns = ("attack", "connections", "p50 ms", "p99 ms", "p99 quiet", "p99 ratio", "memory")
    rows = [
        (
            name,
            str(result.held),
            report.number(sorted(each.p50_ms for each in result.attacked)[ROUNDS // 2]),
            report.number(sorted(each.p99_ms for each in result.attacked)[ROUNDS // 2]),
            report.number(sorted(each.p99_ms for each in result.quiet)[ROUNDS // 2]),
            report.number(result.p99_ratio),
            report.number(result.memory),
        )
        for name, result in results.items()
    ]
    notes = (
        f"A tenant's binary calls of a tiny model over {CONNECTIONS} connections, every one of which has to succeed; "
        f"{ROUNDS} rounds, each with a quiet one before it. Attackers share the machine's cores with both. Memory is "
        "that of the service under attack as a share of its memory just before.",
    )
    goals = [
        report.Goal(f"p99 ratio under {name}", result.p99_ratio, 2, at_most=True) for name, result in results.items()
    ]
    goals += [
        report.Goal(f"memory under {name}", result.memory, 1.2, at_most=True)
        for name, result in results.items() if name != "idle connections"
    ]  # fmt: skip
    bars = report.Bars("p99 under attack / quiet", "ratio", {n: r.p99_ratio for n, r in results.items()}, goal=2)
    report.publish("hostile", "Good calls under attack", [report.Table("Hostile", columns, rows, notes)], goals, [bars])
