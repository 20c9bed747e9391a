"""A model on another OpenAI-compatible server, sold by a real service: same clients, same ledger."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import openai
import pytest

from tests.conftest import Service, airserve, start_service
from tests.openai_for_tests import WORDS, Upstream, refusal, upstream_server

MESSAGES: Any = [{"role": "user", "content": "hi"}]
KEY = "sk-of-the-other-server"
pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with upstream_server() as running:
        yield running


@pytest.fixture(scope="module")
def reseller(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("reseller")
    state = ("--state-dir", str(folder / "state"))
    options = ("--model", "big-model", "--name", "chat", "--key-variable", "THE_KEY")
    airserve("import", "openai", upstream.url, *options, "--publish", *state, "--json")
    running = start_service(folder / "state", "--no-demo", environment={"THE_KEY": KEY})
    yield running
    assert running.stop() == 0


@pytest.fixture
def client(reseller: Service) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{reseller.url}/v1", api_key=reseller.key, max_retries=0) as opened:
        yield opened


def ledger(service: Service) -> list[tuple[str, int, int, int]]:
    """Outcome and tokens of each call so far."""
    with closing(sqlite3.connect(service.state_dir / "airserve.db")) as database:
        query = "SELECT outcome, input_tokens, cached_tokens, output_tokens FROM usage_events ORDER BY admitted_ns"
        return list(database.execute(query))


def ledger_with(service: Service, outcome: str, size: int) -> list[tuple[str, int, int, int]]:
    """The calls that ended so, once there are `size` of them: the ledger is a moment behind."""
    end = time.monotonic() + 20
    while len(rows := [row for row in ledger(service) if row[0] == outcome]) < size:
        assert time.monotonic() < end
        time.sleep(0.05)
    return rows


def test_a_chat_is_forwarded_streamed_and_metered_by_the_counts_of_the_other_server(
    client: openai.OpenAI, reseller: Service, upstream: Upstream
) -> None:
    whole = client.chat.completions.create(model="chat", messages=MESSAGES)
    assert whole.choices[0].message.content == "".join(WORDS)
    assert whole.usage is not None
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (11, 5)
    said = [
        chunk.choices[0].delta.content or ""
        for chunk in client.chat.completions.create(model="chat", messages=MESSAGES, stream=True)
        if chunk.choices
    ]
    assert "".join(said) == "".join(WORDS)
    assert len(said) >= len(WORDS)
    assert ledger_with(reseller, "ok", 2) == [("ok", 11, 3, 5)] * 2
    assert {headers["authorization"] for _, _, headers in upstream.requests} == {f"Bearer {KEY}"}


def test_counts_that_no_answer_can_have_are_brought_into_range(
    client: openai.OpenAI, reseller: Service, upstream: Upstream
) -> None:
    before, upstream.counts = len(ledger_with(reseller, "ok", 0)), (10**30, 10**20, 1 << 62)
    try:
        answer = client.chat.completions.create(model="chat", messages=MESSAGES)
    finally:
        upstream.counts = (11, 3, 5)
    assert answer.choices[0].message.content == "".join(WORDS)
    assert ledger_with(reseller, "ok", before + 1)[-1] == ("ok", 1 << 30, 1 << 30, 1 << 30)


def test_what_the_other_server_refuses_is_the_callers_affair_or_the_operators(
    client: openai.OpenAI, upstream: Upstream
) -> None:
    upstream.refusals = [refusal(400, "n is at most 4")]
    with pytest.raises(openai.BadRequestError, match="n is at most 4"):
        client.chat.completions.create(model="chat", messages=MESSAGES)
    upstream.refusals = [refusal(401, f"bad key {KEY}")]
    with pytest.raises(openai.InternalServerError) as refused:
        client.chat.completions.create(model="chat", messages=MESSAGES)
    assert refused.value.status_code == 500
    assert KEY not in str(refused.value)


def test_a_client_that_goes_while_the_other_server_is_silent_closes_the_connection_there(
    client: openai.OpenAI, reseller: Service, upstream: Upstream
) -> None:
    dropped = upstream.dropped
    upstream.stall_after = 2
    try:
        with client.chat.completions.create(model="chat", messages=MESSAGES, stream=True) as stream:
            for chunk in stream:
                if chunk.choices and chunk.choices[0].delta.content == WORDS[1]:
                    break
        end = time.monotonic() + 20
        while upstream.dropped == dropped:
            assert time.monotonic() < end
            time.sleep(0.02)
    finally:
        upstream.stall_after = None
    assert ledger_with(reseller, "partial", 1) == [("partial", 0, 0, 2)]
