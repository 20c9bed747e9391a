"""The minimum cut of a measured model over one link: the best division, also where several tensors cross."""

from __future__ import annotations

from airserve.models.splitting.minimum_cut import Division, minimum_cut
from airserve.models.splitting.places import Place, compare
from airserve.models.splitting.study import Study
from airserve.models.splitting.transfer import Uplink

_NEVER_S = 1e6


def best_division(measured: Study, link: Uplink, factor: float, floor: float) -> Division:
    """The division that takes least time on a device that is `factor` times as slow as this machine.

    A tensor where nothing was coded counts with the bits and codec times a value of the smallest coding that was
    accurate enough elsewhere, 8 bits where none was; one that no codec takes never crosses. Slow start does not add up
    over tensors, so it is left out: the times of `places` are the exact ones, for one tensor.
    """
    comparison = compare(measured, link, factor, floor)
    accurate = [(coding, cut.values) for cut in measured.cuts for coding in cut.codings if coding.accuracy >= floor]
    coding, values = min(accurate, key=lambda pair: pair[0].bytes / pair[1], default=(None, 1))
    byte, codec_s = (1.0, 0.0) if coding is None else (
        coding.bytes / values, (factor * coding.encode_s + coding.decode_s) / values
    )  # fmt: skip
    times, graph = measured.profile.operation_s, measured.graph
    crossing = dict.fromkeys((name for operation in graph.operations for name in operation.outputs), _NEVER_S)
    for name, feature in measured.features.items():
        crossing[name] = feature.values * (byte * 8 / link.rate_bps + codec_s)
    uploads = [way for way in (comparison.best(Place.CLOUD), comparison.best(Place.CLOUD_RAW)) if way is not None]
    smallest = min(way.seconds for way in uploads) - measured.profile.total_s - link.rtt_s
    for name in graph.inputs:
        crossing[name] = max(smallest, 0.0) / len(graph.inputs)
    device = {name: factor * seconds for name, seconds in times.items()}
    return minimum_cut(graph, device, times, crossing, call_s=link.rtt_s)
