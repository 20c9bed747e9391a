"""The figures behind the ready-made profiles, each with where it is from.

Rates are Mbit/s, round trips milliseconds, as (percentile, value) pairs over the whole time, outages included. A round
trip is what ping sees, the wait for an uplink grant included. Where a figure was assumed and not measured, `source`
says so with the word "assumed".
"""

from __future__ import annotations

from dataclasses import dataclass

from airserve.lab.link import Radio

Quantiles = tuple[tuple[float, float], ...]

CONEXT25 = "CoNEXT'25 drive Los Angeles-Boston 2024 (T-Mobile, nuttcp 0.5 s samples, ping 5 Hz)"
SIGCOMM21 = "SIGCOMM'21 5G artifact (Ookla tests, Lumos5G traces, RRC-Probe)"
MEMU22 = "5G-MEMU'22 mmWave uplink data"
IFIP24 = "IFIP'24 year-long 5G uplink study (session means)"
GRANT = "uplink grant from the scheduling-request model of TS 38.214"
HANDOVERS = "hand-over gaps from the SIGCOMM'22 5G mobility artifact"


@dataclass(frozen=True, slots=True)
class Outages:
    """Stretches without any rate: their share of the time a way, and the median and 95th percentile of their length."""

    share_up: float
    share_down: float
    p50_s: float = 0.5
    p95_s: float = 3.0


@dataclass(frozen=True, slots=True)
class Handovers:
    """Short gaps of both ways, `every_s` apart in the mean; their length is lognormal."""

    every_s: float
    p50_s: float = 0.05
    p95_s: float = 0.1


@dataclass(frozen=True, slots=True)
class Figures:
    """What one profile is made from. `up_ms` and `down_ms` are one-way delays, where those were measured."""

    down_mbps: Quantiles
    up_mbps: Quantiles
    source: str
    rtt_ms: Quantiles = ()
    up_ms: Quantiles = ()
    down_ms: Quantiles = ()
    outages: Outages = Outages(0.0, 0.0)
    handovers: Handovers | None = None
    radio: Radio | None = None
    grant_s: float = 0.0
    queue_s: float = 0.5
    correlation_s: float = 2.0
    tags: tuple[str, ...] = ()


def _quantiles(p5: float, p50: float, p95: float) -> Quantiles:
    return ((5, p5), (50, p50), (95, p95))


# RRC-Probe, T-Mobile standalone: round trips of 80 ms up to 9 s of silence, 1,041 ms after 11 s.
STANDALONE_RADIO = Radio(idle_after_s=10.0, wake_s=0.96)
# RRC-Probe, Verizon mmWave: 60-124 ms up to 10.5 s of silence, then 360-1,365 ms; the middle of that, less the usual.
NON_STANDALONE_RADIO = Radio(idle_after_s=10.5, wake_s=0.77)
LTE_RADIO = Radio(idle_after_s=10.0, wake_s=0.4)

FIGURES: dict[str, Figures] = {
    "wifi": Figures(
        down_mbps=_quantiles(30, 150, 400),
        up_mbps=_quantiles(10, 40, 100),
        rtt_ms=_quantiles(8, 15, 40),
        outages=Outages(0.002, 0.002),
        queue_s=0.25,
        tags=("wifi",),
        source="assumed: a home access point behind fixed broadband; no measured set was at hand",
    ),
    "lte": Figures(
        down_mbps=((25, 5), (50, 16), (95, 218)),
        up_mbps=_quantiles(3, 19, 61),
        rtt_ms=_quantiles(66, 72, 91),
        outages=Outages(0.03, 0.06),
        handovers=Handovers(17.0, 0.035, 0.1),
        radio=LTE_RADIO,
        grant_s=0.008,
        tags=("lte", "driving"),
        source="down and round trip: UCC 5Gdataset, driving, Ireland 2019-20 (mostly on LTE), its 25th percentile "
        f"assumed; up: {IFIP24}, Canada; {HANDOVERS}; radio wake-up 0.4 s and outage shares assumed; {GRANT}",
    ),
    "5g-nsa-lowband": Figures(
        down_mbps=_quantiles(21, 143, 201),
        up_mbps=_quantiles(22, 77, 95),
        rtt_ms=_quantiles(37, 58, 89),
        outages=Outages(0.01, 0.01),
        handovers=Handovers(30.0),
        radio=NON_STANDALONE_RADIO,
        grant_s=0.008,
        tags=("5g", "static"),
        source=f"{SIGCOMM21}: T-Mobile low-band non-standalone, several connections; outage share assumed; {GRANT}",
    ),
    "5g-nsa-midband": Figures(
        down_mbps=((5, 2.1), (25, 84.9), (50, 237), (75, 444), (95, 807)),
        up_mbps=((25, 11.5), (50, 33.6), (75, 64.0), (95, 104.8), (99.9, 175)),
        rtt_ms=_quantiles(45.6, 71.6, 142),
        outages=Outages(0.065, 0.042),
        handovers=Handovers(8.0),
        radio=NON_STANDALONE_RADIO,
        grant_s=0.005,
        tags=("5g", "driving"),
        source=f"{CONEXT25}: rates of one TCP flow, so a lower bound; the drive mixes mid-band, low-band and LTE; "
        f"{HANDOVERS}; {GRANT}",
    ),
    "5g-sa-midband": Figures(
        down_mbps=_quantiles(84.9, 444, 807),
        up_mbps=_quantiles(15, 90, 144),
        rtt_ms=_quantiles(13, 16, 24),
        outages=Outages(0.005, 0.005),
        handovers=Handovers(45.0),
        radio=STANDALONE_RADIO,
        grant_s=0.005,
        tags=("5g", "edge"),
        source=f"round trip: CICV5G, n78 urban with an edge server; up: {IFIP24}, Norway; down: assumed to be the "
        f"25th, 75th and 95th percentile of {CONEXT25}; hand-over every 45 s: SIGCOMM'21; outages assumed; {GRANT}",
    ),
    "5g-mmwave-walking": Figures(
        down_mbps=_quantiles(8, 503, 1420),
        up_mbps=((25, 11.0), (50, 33.3), (95, 140)),
        rtt_ms=_quantiles(11.3, 14.7, 27.7),
        outages=Outages(0.163, 0.026, 1.0, 5.0),
        handovers=Handovers(20.0),
        radio=NON_STANDALONE_RADIO,
        grant_s=0.002,
        correlation_s=4.0,
        tags=("5g", "walking"),
        source=f"up and round trip: {MEMU22}, walking, its 25th percentile assumed; down: {SIGCOMM21}, Lumos5G; "
        f"{HANDOVERS}; grant assumed 2 ms",
    ),
    "5g-mmwave-driving": Figures(
        down_mbps=_quantiles(8, 503, 1420),
        up_mbps=((25, 15.0), (50, 64.6), (95, 476)),
        rtt_ms=_quantiles(13.3, 32.2, 49.6),
        outages=Outages(0.154, 0.026, 1.0, 5.0),
        handovers=Handovers(8.0),
        radio=NON_STANDALONE_RADIO,
        grant_s=0.002,
        correlation_s=1.0,
        tags=("5g", "driving"),
        source=f"up and round trip: {MEMU22}, driving, its 25th percentile assumed; down: {SIGCOMM21}, Lumos5G; "
        f"{HANDOVERS}; grant assumed 2 ms",
    ),
    "5g-urllc": Figures(
        down_mbps=_quantiles(80, 100, 120),
        up_mbps=_quantiles(40, 50, 60),
        up_ms=((50, 0.67), (99, 0.91), (99.999, 1.99)),
        down_ms=((50, 0.75), (99, 1.06), (99.999, 2.89)),
        queue_s=0.05,
        tags=("5g", "static"),
        source="delays: DETERMINISTIC6G PD-Wireless-5G-3a, URLLC prototype at 28 GHz; rates assumed; configured grant",
    ),
    "5g-cell-edge": Figures(
        down_mbps=((50, 8.4), (95, 67)),
        up_mbps=((50, 2.2), (95, 9.7)),
        rtt_ms=_quantiles(73, 95, 142),
        outages=Outages(0.26, 0.168),
        handovers=Handovers(10.0),
        radio=STANDALONE_RADIO,
        grant_s=0.005,
        queue_s=1.0,
        tags=("5g", "driving"),
        source=f"the lowest quarter of the rates and the upper half of the round trips of {CONEXT25}, interpolated "
        f"in the logarithm; {HANDOVERS}; {GRANT}",
    ),
    "leo": Figures(
        down_mbps=_quantiles(60, 178, 300),
        up_mbps=_quantiles(6, 17, 35),
        rtt_ms=_quantiles(30, 45, 90),
        outages=Outages(0.01, 0.01),
        handovers=Handovers(15.0, 0.05, 0.15),
        queue_s=0.3,
        tags=("satellite",),
        source="medians as reported for Starlink (A First Look at Starlink Performance, IMC'22) and its reallocation "
        "every 15 s; spread and outage share assumed",
    ),
}
