"""What plans are predicted to take."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airserve.client.link.connection import Connection
from airserve.client.link.corrections import Corrections
from airserve.client.link.estimate import Exchange, LinkEstimate
from airserve.client.link.flights import INITIAL_WINDOW, transfer_s
from airserve.client.link.plan import Costs, Plan
from airserve.client.link.predictor import predict

RTT_S, RATE = 0.06, 1.5e6


def known_link() -> LinkEstimate:
    link = LinkEstimate()
    for step in range(18):
        size = (900, 25_000, 600_000)[step % 3]
        link.add(Exchange(float(step), size, 400, RTT_S + transfer_s(size, INITIAL_WINDOW, RTT_S, RATE), 0.0))
    return link


def warm(kind: str = "3") -> Connection:
    connection = Connection(kind)
    connection.carried(1, 99.9, RTT_S)
    return connection


def test_a_body_that_fits_the_first_flight_takes_a_round_trip_and_its_own_time() -> None:
    said = predict(Plan("cloud"), Costs(up_bytes=12_000, service_s=0.01), known_link(), warm(), now=100.0, idle_s=0.1)
    assert said.p50_s == pytest.approx(RTT_S + 12_000 / RATE + 0.01, rel=0.2)
    assert said.p95_s > said.p50_s


def test_a_new_connection_costs_one_round_trip_over_quic_and_two_over_tcp() -> None:
    link, costs = known_link(), Costs(up_bytes=1000)
    stands, quic, tcp = (
        predict(Plan("cloud"), costs, link, connection, now=100.0, idle_s=0.1).p50_s
        for connection in (warm("2"), Connection("3"), Connection("2"))
    )
    assert quic - stands == pytest.approx(link.rtt_s, rel=0.01)
    assert tcp - stands == pytest.approx(2 * link.rtt_s, rel=0.01)


def test_a_window_shuts_again_after_silence() -> None:
    connection = Connection("2")
    connection.carried(500_000, 10.0, RTT_S)
    assert connection.window(10.1, RTT_S) > 400_000
    assert connection.window(12.0, RTT_S) == INITIAL_WINDOW


@given(st.floats(500, 1e6), st.floats(500, 1e6), st.floats(0, 0.5), st.floats(0, 30))
def test_the_pessimistic_time_is_never_below_the_expected_one(up: float, down: float, own: float, idle: float) -> None:
    costs = Costs(up_bytes=up, down_bytes=down, encode_s=own, device_s=own, device_sure_s=own, service_s=own)
    said = predict(Plan("split", "int8", "t"), costs, known_link(), warm(), now=100.0, idle_s=idle)
    assert said.p95_s >= said.p50_s > 3 * own


def test_the_device_takes_its_own_time_and_no_bytes() -> None:
    said = predict(
        Plan("device"), Costs(device_s=0.02, device_sure_s=0.03), LinkEstimate(), warm(), now=100.0, idle_s=60.0
    )
    assert (said.p50_s, said.p95_s, said.up_bytes) == (0.02, 0.03, 0.0)


def test_sleeping_radios_cost_energy_and_pessimism() -> None:
    link, costs = known_link(), Costs(up_bytes=12_000)
    awake = predict(Plan("cloud"), costs, link, warm(), now=100.0, idle_s=1.0)
    asleep = predict(Plan("cloud"), costs, link, warm(), now=100.0, idle_s=15.0)
    assert asleep.p95_s > awake.p95_s + 0.3
    assert asleep.joules > awake.joules


@given(st.floats(0.3, 3.0), st.floats(0.01, 1.0))
def test_corrections_find_a_constant_error_and_hold_it_against_the_link(wrong_by: float, true_s: float) -> None:
    corrections = Corrections()
    for _ in range(40):
        corrections.learn("plan", true_s * wrong_by * corrections.factor("plan"), true_s)
    assert corrections.factor("plan") * wrong_by == pytest.approx(1.0, rel=0.05)
    assert corrections.factor("another") == pytest.approx(corrections.factor("plan"))
    assert corrections.error is not None


def test_a_plan_that_is_slower_than_others_by_itself_is_told_from_them() -> None:
    corrections = Corrections()
    for _ in range(60):
        for plan, true_s in (("slow", 0.12), ("quick", 0.1)):
            corrections.learn(plan, 0.1 * corrections.factor(plan), true_s)
    assert corrections.factor("slow") / corrections.factor("quick") > 1.05
