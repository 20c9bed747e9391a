"""The division of a graph between device and server that takes least time, found as a minimum cut.

Source: Hu et al., Dynamic Adaptive DNN Surgery for Inference Acceleration on the Edge (DADS), INFOCOM 2019, §IV, the
case of light load; the time that a codec takes belongs to what sending its tensor costs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import networkx

from airserve.models.splitting.graph import Graph

# Node names that no tensor has: an ONNX name is a string.
_DEVICE, _SERVER = ("device",), ("server",)


@dataclass(frozen=True, slots=True)
class Division:
    """`device` names the operations that run there, the others run on the server; `crossing` are the tensors sent."""

    device: frozenset[str]
    crossing: tuple[str, ...]
    seconds: float


def minimum_cut(
    graph: Graph,
    device_s: Mapping[str, float],
    server_s: Mapping[str, float],
    crossing_s: Mapping[str, float],
    *,
    call_s: float = 0.0,
) -> Division:
    """The division with the smallest sum of times, all in seconds.

    `device_s` and `server_s` are by operation, `crossing_s` by tensor and paid once, however many need it on the other
    side. Nothing comes back to the device but the answer: `call_s` is what a call takes besides, paid where anything
    runs on the server. The inputs are on the device.
    """
    network = networkx.DiGraph()
    for tensor in graph.inputs:
        network.add_edge(_DEVICE, ("made", tensor))
    for operation in graph.operations:
        node = ("run", operation.name)
        network.add_edge(_DEVICE, node, capacity=server_s.get(operation.name, 0.0))
        network.add_edge(node, _SERVER, capacity=device_s.get(operation.name, 0.0))
        for tensor in operation.outputs:
            network.add_edge(node, ("made", tensor))
            network.add_edge(("made", tensor), node)
        for tensor in operation.inputs:
            # Sent once: the second node of a tensor lies on the server's side as soon as one who needs it does.
            network.add_edge(("made", tensor), ("sent", tensor), capacity=crossing_s[tensor])
            network.add_edge(("sent", tensor), node)
            # What the server made never goes back to the device; without a capacity an edge is never cut.
            network.add_edge(node, ("made", tensor))
    seconds, (near, _) = networkx.minimum_cut(network, _DEVICE, _SERVER)
    device = frozenset(operation.name for operation in graph.operations if ("run", operation.name) in near)
    alone = sum(device_s.get(operation.name, 0.0) for operation in graph.operations)
    # The call costs the same wherever the cut lies, so only the division without one has to be compared.
    if len(device) == len(graph.operations) or alone <= seconds + call_s:
        return Division(frozenset(operation.name for operation in graph.operations), (), alone)
    return Division(device, crossing(graph, device), float(seconds) + call_s)


def crossing(graph: Graph, device: frozenset[str]) -> tuple[str, ...]:
    """The tensors that are there on the device and needed on the server."""
    there = set(graph.inputs)
    needed: dict[str, None] = {}
    for operation in graph.operations:
        if operation.name in device:
            there.update(operation.outputs)
        else:
            needed.update(dict.fromkeys(operation.inputs))
    return tuple(tensor for tensor in needed if tensor in there)
