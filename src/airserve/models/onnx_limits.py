"""What a graph may be: bounds that are checked on the graph as data, before any session of it exists."""

from __future__ import annotations

from dataclasses import dataclass

KNOWN_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})


@dataclass(frozen=True, slots=True)
class OnnxLimits:
    """`tensor_bytes` bounds each tensor whose size the graph fixes, `weight_bytes` all initialisers together.

    The process that tries the graph may take `memory_bytes` and what eight times the model's size is, `seconds` of
    processor time, and as many by the clock.
    """

    domains: frozenset[str] = KNOWN_DOMAINS
    nodes: int = 200_000
    subgraphs: int = 1_000
    depth: int = 16
    rank: int = 32
    tensor_bytes: int = 1 << 30
    weight_bytes: int = 16 << 30
    memory_bytes: int = 2 << 30
    seconds: int = 120
