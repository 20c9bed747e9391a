"""Random small graphs for properties that brute force can check."""

from __future__ import annotations

from hypothesis import strategies as st

from airserve.models.splitting.graph import Graph, Operation


@st.composite
def graphs(draw: st.DrawFn, most: int = 7) -> Graph:
    """Up to `most` operations of one or two tensors each, and a last one that needs all that nobody else does."""
    inputs = tuple(f"in{index}" for index in range(draw(st.integers(1, 2))))
    there, unused, operations = list(inputs), set(inputs), []
    for index in range(draw(st.integers(0, most - 1))):
        # Mostly of what came last: deep graphs with shortcuts, as networks are.
        given = tuple(dict.fromkeys(draw(st.lists(st.sampled_from(there[-3:]), min_size=1, max_size=2))))
        made = tuple(f"t{index}{part}" for part in "ab"[: draw(st.sampled_from([1, 1, 1, 2]))])
        operations.append(Operation(made[0], "Op", given, made))
        unused -= set(given)
        unused |= set(made)
        there += made
    operations.append(Operation("out", "Op", tuple(sorted(unused)), ("out",)))
    return Graph(inputs, ("out",), tuple(operations))
