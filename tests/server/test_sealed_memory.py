"""Nothing of a sealed call is in the front: not in its memory, not in the logs, not on the disk.

The memory of every process of the service is read but for the worker, which alone may know. What is sent without a seal
is found the same way, so the search is sharp.
"""

from __future__ import annotations

import base64
import os
import secrets
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from airserve.client import Client
from airserve.codecs.sealed_key import public_text
from airserve.engines.options import IDENTITY
from airserve.engines.sealed_identity import load_or_create_identity
from tests.conftest import Service
from tests.server.processes import family_of
from tests.server.wire import send

_CHUNK = 4 << 20
_LONGEST = 256
_PAGE = os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def house(sealed_service: Service) -> Service:
    return sealed_service


def is_worker(pid: int) -> bool:
    return b"airserve.engines.sealed_worker" in Path(f"/proc/{pid}/cmdline").read_bytes()


def regions(pid: int) -> Iterator[tuple[int, int]]:
    """The readable mappings that have any page in memory or on swap."""
    start = end = 0
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        words = line.split()
        if "-" in words[0] and len(words[1]) == 4:
            start, end = (int(part, 16) for part in words[0].split("-"))
            readable = words[1].startswith("r")
        elif words[0] in ("Rss:", "Swap:") and int(words[1]) and readable and start:
            yield start, end
            start = 0


def present(pid: int, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The runs of pages between `start` and `end` that exist (proc(5), pagemap: bits 62 and 63)."""
    with Path(f"/proc/{pid}/pagemap").open("rb", buffering=0) as pagemap:
        pagemap.seek(start // _PAGE * 8)
        data = pagemap.read((end - start) // _PAGE * 8)
    here = (np.frombuffer(data, np.uint64) >> np.uint64(62)) != 0
    edges = np.flatnonzero(np.diff(np.concatenate(([0], here.astype(np.int8), [0]))))
    for first, last in edges.reshape(-1, 2):
        yield start + int(first) * _PAGE, start + int(last) * _PAGE


def found_in_memory(pid: int, needles: Sequence[bytes]) -> set[bytes]:
    found: set[bytes] = set()
    read = 0
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for start, end in regions(pid):
            for first, last in present(pid, start, end):
                position, before = first, b""
                while position < last:
                    try:
                        memory.seek(position)
                        data = memory.read(min(_CHUNK, last - position))
                    except (OSError, OverflowError, ValueError):
                        break  # a mapping of the kernel's own, or one that went meanwhile
                    if not data:
                        break
                    joined = before + data
                    found |= {needle for needle in needles if needle in joined}
                    position, before, read = position + len(data), joined[-_LONGEST:], read + len(data)
    assert read > 1 << 20, f"nearly nothing of the memory of process {pid} could be read"
    return found


def found_in_files(folder: Path, needles: Sequence[bytes]) -> set[bytes]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert any(path.name.endswith(".log") for path in files)
    assert any("journal" in str(path) for path in files)
    return {needle for path in files for needle in needles if needle in path.read_bytes()}


def looks_of(canary: bytes) -> list[bytes]:
    """As it is, as a BYTES element, in hexadecimal, and in Base64 wherever it begins."""
    based = [base64.b64encode(bytes(shift) + canary)[4:-4] for shift in range(3)]
    return [canary, struct.pack("<I", len(canary)) + canary, canary.hex().encode(), *based]


def front_of(house: Service) -> tuple[list[int], list[int]]:
    """The processes of the service without the workers, and the workers."""
    family = family_of(house.process.pid)
    return [pid for pid in family if not is_worker(pid)], [pid for pid in family if is_worker(pid)]


def everywhere(house: Service, needles: Sequence[bytes]) -> set[bytes]:
    front, workers = front_of(house)
    assert len(front) >= 2, "the supervisor and the front"
    assert workers
    found = found_in_files(house.state_dir.parent, needles)
    return found.union(*(found_in_memory(pid, needles) for pid in front))


def call(client: Client, text: bytes, floats: bytes, *, sealed: bool) -> None:
    words = np.array([text], dtype=object)
    assert client.infer("text", {"x": words}, sealed=sealed)["y"].tolist() == [text]
    numbers = np.frombuffer(floats, np.float32).reshape(1, 16)
    assert client.infer("floats", {"x": numbers}, sealed=sealed)["y"].tobytes() == floats


def finite(count: int) -> bytes:
    """Random floats, whose bytes are hardly anywhere by chance."""
    return np.frombuffer(secrets.token_bytes(4 * count), np.uint32).astype(np.float32).tobytes()


def test_a_sealed_canary_is_nowhere_in_the_front_and_an_open_one_is(house: Service) -> None:
    text, floats = secrets.token_hex(24).encode(), finite(16)
    open_text, open_floats = secrets.token_hex(24).encode(), finite(16)
    stop = threading.Event()
    identity = public_text(load_or_create_identity(house.state_dir / IDENTITY))
    calls = 0

    def keep_calling() -> None:
        nonlocal calls
        with Client(house.ready["url"], house.key, ca=house.ready["ca"], sealed_identity=identity) as client:
            while not stop.is_set():
                call(client, text, floats, sealed=True)
                calls += 1

    caller = threading.Thread(target=keep_calling)
    caller.start()
    try:
        secret = [*looks_of(text), *looks_of(floats)]
        for _ in range(3):
            assert everywhere(house, secret) == set()
        # Refused by the model, with a reason that might quote it; and damaged on the way.
        with Client(house.url, house.key, sealed_identity=identity) as client, pytest.raises(Exception, match="input"):
            client.infer("floats", {text.decode(): np.zeros((1, 16), np.float32)}, sealed=True)
        assert everywhere(house, secret) == set()
    finally:
        stop.set()
        caller.join()
    assert calls > 20
    assert everywhere(house, secret) == set()
    with Client(house.url, house.key) as client:
        for _ in range(5):
            call(client, open_text, open_floats, sealed=False)
    found = everywhere(house, [*looks_of(open_text), *looks_of(open_floats)])
    assert {open_text, open_floats} <= found, "the search misses what is there"


def test_the_key_that_signs_is_in_the_worker_alone(house: Service) -> None:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    pem = (house.state_dir / "sealed" / "identity.pem").read_bytes()
    private = load_pem_private_key(pem, None).private_bytes_raw()  # type: ignore[union-attr]
    front, workers = front_of(house)
    assert set().union(*(found_in_memory(pid, [private]) for pid in front)) == set()
    assert any(found_in_memory(pid, [private]) for pid in workers)


def core_limits(pid: int) -> list[str]:
    """Soft and hard."""
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
    return next(line.split()[4:6] for line in lines if line.startswith("Max core"))


def test_a_worker_leaves_no_core_and_prints_nothing(house: Service) -> None:
    for pid in front_of(house)[1]:
        end = time.monotonic() + 30
        while core_limits(pid) != ["0", "0"]:
            # One that has just been started sets them first of all.
            assert time.monotonic() < end
            time.sleep(0.05)
        assert {str(Path(f"/proc/{pid}/fd/{number}").readlink()) for number in (1, 2)} == {os.devnull}
        # Not dumpable (prctl(2)): its files in /proc are root's, so that nobody else's process can read its memory.
        assert Path(f"/proc/{pid}/mem").stat().st_uid == 0
    assert send(house, "/v2/health/ready").status == 200
