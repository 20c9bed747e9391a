from __future__ import annotations

import hashlib

import pytest

from airserve.core.errors import InputNotHeldError, InvalidInputError
from airserve.serving.held_inputs import OFF_LOOP_FROM, HeldInputs

MEGABYTE, SECOND = 1_000_000, 1_000_000_000


@pytest.mark.parametrize("size", [0, 5, OFF_LOOP_FROM])
async def test_what_came_with_its_digest_is_held_for_its_tenant_alone(size: int) -> None:
    held, raw = HeldInputs(MEGABYTE, 60 * SECOND), b"x" * size
    digest = hashlib.sha256(raw).hexdigest()
    given = held.of("a")
    given.keep(digest, "x", memoryview(raw))
    with pytest.raises(InputNotHeldError):
        held.of("a").held(digest, "x")
    await given.settle()
    assert held.of("a").held(digest, "x") == raw
    with pytest.raises(InputNotHeldError, match="send its data"):
        held.of("b").held(digest, "x")


async def test_bytes_under_a_digest_that_is_not_theirs_are_refused_and_not_held() -> None:
    held, digest = HeldInputs(MEGABYTE, 60 * SECOND), hashlib.sha256(b"another").hexdigest()
    given = held.of("a")
    given.keep(digest, "x", b"one")
    with pytest.raises(InvalidInputError, match="input 'x'"):
        await given.settle()
    with pytest.raises(InputNotHeldError):
        held.of("a").held(digest, "x")


async def test_large_inputs_are_taken_and_not_held() -> None:
    held, raw = HeldInputs(MEGABYTE, 60 * SECOND), bytes(MEGABYTE)
    digest = hashlib.sha256(raw).hexdigest()
    given = held.of("a")
    given.keep(digest, "x", raw)
    await given.settle()
    with pytest.raises(InputNotHeldError):
        held.of("a").held(digest, "x")
