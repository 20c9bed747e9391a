"""The tensors at which a graph falls in two: every way from an input to an output goes through them."""

from __future__ import annotations

from airserve.models.splitting.graph import Graph


def cut_tensors(graph: Graph) -> list[str]:
    """Single tensors that separate the inputs from the outputs, in the order in which they are computed.

    They are the dominators of the output, without inputs and outputs themselves. What is not computed after such a
    tensor is computed before it, so in any order in which the operations can run there is a moment when it is the only
    tensor that is still needed: one walk finds all, in time linear in the edges.
    """
    left = {tensor: len(users) for tensor, users in graph.users().items()}
    for output in graph.outputs:
        # The caller needs it at the end, whoever else does before.
        left[output] = left.get(output, 0) + 1
    waiting = {tensor for tensor in graph.inputs if left.get(tensor)}
    found: list[str] = []
    for operation in graph.operations:
        for tensor in operation.inputs:
            left[tensor] -= 1
            if not left[tensor]:
                waiting.discard(tensor)
        waiting.update(tensor for tensor in operation.outputs if left.get(tensor))
        if len(waiting) == 1 and not waiting.intersection(graph.outputs):
            (only,) = waiting
            if only not in graph.inputs and (not found or found[-1] != only):
                found.append(only)
    return found
