from __future__ import annotations

import networkx
from hypothesis import given

from airserve.models.splitting.cut_tensors import cut_tensors
from airserve.models.splitting.graph import Graph, Operation, read_graph
from tests.models.splitting.networks import small_cnn, two_ways
from tests.models.splitting.random_graphs import graphs


def _parts(graph: Graph, tensor: str) -> bool:
    """Whether nothing leads from an input to an output around `tensor`."""
    network = networkx.DiGraph()
    network.add_nodes_from((*graph.inputs, *graph.outputs))
    for operation in graph.operations:
        network.add_edges_from((given, (operation.name,)) for given in operation.inputs if given != tensor)
        network.add_edges_from(((operation.name,), made) for made in operation.outputs if made != tensor)
    return not any(networkx.has_path(network, near, far) for near in graph.inputs for far in graph.outputs)


@given(graphs())
def test_the_cuts_are_all_tensors_that_part_inputs_from_outputs(graph: Graph) -> None:
    inner = [tensor for operation in graph.operations for tensor in operation.outputs if tensor not in graph.outputs]
    assert cut_tensors(graph) == [tensor for tensor in inner if _parts(graph, tensor)]


def test_a_shortcut_hides_what_it_goes_around() -> None:
    graph = read_graph(small_cnn())
    assert cut_tensors(graph) == ["c1", "r1", "c2", "sum", "pooled", "flat"]


def test_two_ways_that_meet_at_the_end_have_no_cut() -> None:
    assert cut_tensors(read_graph(two_ways())) == []


def test_a_tensor_that_is_an_output_too_is_no_cut() -> None:
    chain = (Operation("a", "Op", ("x",), ("a",)), Operation("b", "Op", ("a",), ("b",)))
    assert cut_tensors(Graph(("x",), ("a", "b"), chain)) == []
