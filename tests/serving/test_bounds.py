from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from airserve.core.call import Call
from airserve.core.generation import TokenCounts
from airserve.core.tensor import Signature, TensorSpec
from airserve.metering.event import Outcome
from airserve.metering.prices import Price, amount_nano
from airserve.serving import bounds
from airserve.serving.admission import Admission, Admissions
from airserve.serving.meter import event_of
from airserve.serving.standing import Standing, TenantCalls
from airserve.serving.ticket import Ticket

nano = st.integers(0, 10**12)
prices = st.builds(
    Price, st.just(1), st.just("m"), nano, nano, st.just("EUR"), nano, nano, nano, nano,
)  # fmt: skip


@given(prices, st.integers(0, 10**11), st.integers(0, 4096), st.integers(0, 4096), st.integers(0, 10**9), st.data())
def test_no_call_within_its_bounds_costs_more_than_was_set_aside(
    price: Price, compute_ns: int, prompt: int, answer: int, size: int, data: st.DataObject
) -> None:
    most = bounds._most_nano(price, compute_ns, prompt, answer, size)
    used_prompt = data.draw(st.integers(0, prompt))
    tokens = TokenCounts(used_prompt, data.draw(st.integers(0, used_prompt)), data.draw(st.integers(0, answer)))
    used = amount_nano(price, data.draw(st.integers(0, compute_ns)), tokens, data.draw(st.integers(0, size)))
    assert used <= most


def test_the_largest_reply_follows_from_the_signature() -> None:
    outputs = (TensorSpec("y", "FP32", (-1, 10)), TensorSpec("label", "INT64", (-1,)))
    assert bounds.bytes_a_row(Signature((), outputs, 64)) == 48
    assert bounds.bytes_a_row(Signature((), (TensorSpec("y", "FP32", (3, 4)),))) == 48
    call = Call("c", "m", {}, 5, 10**9, bytes_in=100)
    assert bounds.of_tensors(call, 48, Price(1, "m", 0, 0, "EUR"), 0).size_bytes == 340


def test_a_strict_budget_caps_what_a_call_is_charged() -> None:
    standing = Standing(None, "t", (), None, TenantCalls(), ())  # type: ignore[arg-type]  # no plan is needed for this
    loop = asyncio.new_event_loop()
    admission = Admission(Admissions(), standing, [], 5, 70)
    call = Call("c", "m", {}, 1, 10**9, "t", "k")
    ticket = Ticket(call, Price(1, "m", 0, 0, "EUR"), 5, 0, loop, loop.create_future(), None, admission)
    event = event_of(ticket, 1, Outcome.OK, bytes_out=0, compute_ns=0, amount_nano=100)
    assert (event.amount_nano, event.cap_nano) == (70, 70)
    loop.close()
