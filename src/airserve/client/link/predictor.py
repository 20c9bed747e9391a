"""How long a plan will take over the link as it is: T = encode + wake + connect + up + service + down."""

from __future__ import annotations

from airserve.client.link.connection import Connection
from airserve.client.link.energy import joules
from airserve.client.link.estimate import SLEEPS_AFTER_S, LinkEstimate
from airserve.client.link.flights import INITIAL_WINDOW, transfer_s
from airserve.client.link.plan import Costs, Plan, Prediction


def predict(
    plan: Plan,
    costs: Costs,
    link: LinkEstimate,
    connection: Connection,
    *,
    now: float,
    idle_s: float,
    factor: float = 1.0,
) -> Prediction:
    """The prediction for a call that leaves `now`, after `idle_s` seconds of silence; `factor` corrects it.

    The 95th percentile takes the pessimistic rates, the worst wake lately and the spread of the link's times.
    """
    if plan.place == "device":
        energy = joules(sending_s=0, receiving_s=0, computing_s=costs.device_s, wakes=False)
        return Prediction(costs.device_s * factor, costs.device_sure_s * max(factor, 1.0), 0.0, energy)
    rtt_s = link.rtt_s
    trips_s = (1 + connection.setup_trips(now)) * rtt_s
    window = connection.window(now, rtt_s)
    up_s = transfer_s(costs.up_bytes, window, rtt_s, link.up_rate)
    down_s = transfer_s(costs.down_bytes, INITIAL_WINDOW, rtt_s, link.down_rate)
    network_s = trips_s + up_s + down_s
    sure_network_s = (
        trips_s
        + transfer_s(costs.up_bytes, window, rtt_s, link.sure_up_rate)
        + transfer_s(costs.down_bytes, INITIAL_WINDOW, rtt_s, link.sure_down_rate)
    )
    own_s = costs.encode_s + costs.device_s + costs.service_s
    sure_own_s = costs.encode_s + costs.device_sure_s + 1.5 * costs.service_s
    p50_s = (own_s + link.wake_s(idle_s) + network_s) * factor
    p95_s = (sure_own_s + link.wake_s(idle_s, surely=True) + max(sure_network_s, network_s * link.spread)) * factor
    energy = joules(
        sending_s=up_s,
        receiving_s=down_s,
        computing_s=costs.encode_s + costs.device_s,
        wakes=idle_s >= SLEEPS_AFTER_S,
    )
    return Prediction(p50_s, max(p50_s, p95_s), costs.up_bytes, energy, network_s * factor)
