"""Clients that open a chat and go away in the middle of it, against a real model and over a real connection."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests import large_models
from tests.conftest import Service, airserve, on_one_core, start_service
from tests.how_long import times
from tests.server.wire import send

pytestmark = pytest.mark.models

CALLS, WARM_UP, AT_ONCE, MAX_TOKENS = times(80, 200), times(30, 60), 8, 8


@pytest.fixture(scope="module")
def chats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("chats")
    state = str(folder / "state")
    airserve("publish", str(large_models.gemma()), "--name", "gemma", "--state-dir", state, "--json")
    # Before the service starts: a running one takes a new price for calls from a moment later.
    airserve(
        "models", "price", "gemma", "--per-call", "1",
        "--per-million-input-tokens", "0.002", "--per-million-cached-tokens", "0.001",
        "--per-million-output-tokens", "0.005", "--state-dir", state, "--json",
    )  # fmt: skip
    with on_one_core():
        running = start_service(folder / "state", "--no-demo")
    yield running
    assert running.stop() == 0


def usage(service: Service) -> dict[str, Any]:
    rows = [row for row in service.run("usage", "--model", "gemma") if row["model"] == "gemma"]
    names = ("ok", "partial", "cancelled", "input_tokens", "cached_tokens", "output_tokens", "amount_nano", "calls")
    return {name: sum(row[name] for row in rows) for name in names}


def metric(service: Service, name: str, **labels: str) -> int:
    operator = json.loads((service.state_dir / "credentials.json").read_text())["operator_key"]
    page = send(service, "/metrics", headers={"authorization": f"Bearer {operator}"}).body.decode()
    for line in page.splitlines():
        found = re.fullmatch(rf"{name}\{{(.*)\}} ([0-9.e+]+)", line)
        if found and all(f'{label}="{value}"' in found[1] for label, value in labels.items()):
            return int(float(found[2]))
    raise AssertionError(f"no {name} with {labels} in:\n{page}")


def memory_bytes(service: Service) -> int:
    """What the processes of the service have in memory of their own."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    family = {service.process.pid}
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in family]
    return sum(pages) * os.sysconf("SC_PAGE_SIZE")


async def drop_one(service: Service, number: int, events: int) -> int:
    """Open a chat and go away after so many events; how many had brought text."""
    message = {"role": "user", "content": f"Say the number {number}."}
    document = {"model": "gemma", "messages": [message], "stream": True, "max_tokens": MAX_TOKENS, "temperature": 0}
    body = json.dumps(document).encode()
    address = urlsplit(service.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: here\r\ncontent-type: application/json\r\n"
        + f"authorization: Bearer {service.key}\r\ncontent-length: {len(body)}\r\n\r\n".encode()
        + body
    )
    assert b" 200 " in await reader.readline()
    seen = 0
    while seen < events:
        line = await reader.readline()
        assert line, "the service ended the stream"
        if line.startswith(b"data: {"):
            seen += 1
        elif line.startswith(b"data: [DONE]"):
            break
    writer.close()
    return seen


async def drop_many(service: Service, calls: int, chance: random.Random) -> int:
    room = asyncio.Semaphore(AT_ONCE)

    async def one(number: int, events: int) -> int:
        async with room:
            return await drop_one(service, number, events)

    return sum(await asyncio.gather(*(one(number, chance.randint(1, 4)) for number in range(calls))))


def until_idle(service: Service) -> None:
    end = time.monotonic() + 60
    while metric(service, "airserve_generations_running", model="gemma") or metric(
        service, "nv_inference_pending_request_count", model="gemma"
    ):
        assert time.monotonic() < end, "a slot stayed busy"
        time.sleep(0.05)


async def test_dropped_chats_leave_no_busy_slot_no_memory_and_a_ledger_of_just_the_tokens_produced(
    chats: Service,
) -> None:
    chance = random.Random(3)
    seen = await drop_many(chats, WARM_UP, chance)
    until_idle(chats)
    warm = memory_bytes(chats)
    seen += await drop_many(chats, CALLS - WARM_UP, chance)
    until_idle(chats)
    assert memory_bytes(chats) < 1.05 * warm
    used = usage(chats)
    assert used["calls"] == CALLS
    assert used["ok"] + used["partial"] == CALLS
    assert used["partial"] > CALLS / 2
    for kind in ("input", "cached", "output"):
        assert used[f"{kind}_tokens"] == metric(chats, "airserve_tokens_total", model="gemma", kind=kind)
    # Each event that was seen took at least one token; what was produced after the last one is a few a call.
    assert seen - used["ok"] <= used["output_tokens"] <= CALLS * MAX_TOKENS
    # The price above is 2 nano-units an input token, 1 a cached one, 5 an output token, and 1 EUR a call.
    tokens = 2 * (used["input_tokens"] - used["cached_tokens"]) + used["cached_tokens"] + 5 * used["output_tokens"]
    assert used["amount_nano"] == tokens + used["ok"] * 10**9
