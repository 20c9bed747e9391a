from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airserve.models.splitting.graph import Graph, Operation
from airserve.models.splitting.minimum_cut import crossing, minimum_cut
from tests.models.splitting.random_graphs import graphs

Times = dict[str, float]


def _seconds(graph: Graph, device: frozenset[str], near: Times, far: Times, sent: Times, call_s: float) -> float:
    total = sum(near[each.name] if each.name in device else far[each.name] for each in graph.operations)
    total += sum(sent[tensor] for tensor in crossing(graph, device))
    return total + (call_s if len(device) < len(graph.operations) else 0)


def _possible(graph: Graph, device: frozenset[str]) -> bool:
    """Whether the device never needs what the server made."""
    there = set(graph.inputs)
    for operation in graph.operations:
        if operation.name in device:
            if not there.issuperset(operation.inputs):
                return False
            there.update(operation.outputs)
    return True


@given(graphs(), st.data())
def test_no_division_is_faster_than_the_minimum_cut(graph: Graph, data: st.DataObject) -> None:
    times = st.integers(0, 20).map(float)
    names = [operation.name for operation in graph.operations]
    near, far = ({name: data.draw(times) for name in names} for _ in range(2))
    tensors = {*graph.inputs, *(made for operation in graph.operations for made in operation.outputs)}
    sent = {tensor: data.draw(times) for tensor in sorted(tensors)}
    call_s = data.draw(times)
    found = minimum_cut(graph, near, far, sent, call_s=call_s)
    divisions = [
        frozenset(name for name, there in zip(names, where, strict=True) if there)
        for where in product([False, True], repeat=len(names))
    ]
    best = min(_seconds(graph, each, near, far, sent, call_s) for each in divisions if _possible(graph, each))
    assert found.seconds == pytest.approx(best)
    assert _possible(graph, found.device)
    assert _seconds(graph, found.device, near, far, sent, call_s) == pytest.approx(best)
    assert found.crossing == crossing(graph, found.device)


def _chain() -> Graph:
    names = ("a", "b", "c")
    operations = [Operation(name, "Op", (given,), (name,)) for name, given in zip(names, ("x", *names), strict=False)]
    return Graph(("x",), ("c",), tuple(operations))


@pytest.mark.parametrize(
    ("byte_s", "device"), [(0.0, frozenset()), (1.0, frozenset({"a"})), (1000.0, frozenset({"a", "b", "c"}))]
)
def test_the_slower_the_link_the_more_stays_on_the_device(byte_s: float, device: frozenset[str]) -> None:
    sizes = {"x": 100.0, "a": 1.0, "b": 50.0, "c": 1.0}
    near, far = dict.fromkeys("abc", 10.0), dict.fromkeys("abc", 1.0)
    sent = {tensor: size * byte_s for tensor, size in sizes.items()}
    assert minimum_cut(_chain(), near, far, sent).device == device


def test_a_tensor_that_two_need_is_sent_once() -> None:
    operations = (
        Operation("a", "Op", ("x",), ("a",)),
        Operation("b", "Op", ("a",), ("b",)),
        Operation("c", "Op", ("a",), ("c",)),
        Operation("d", "Op", ("b", "c"), ("d",)),
    )
    graph = Graph(("x",), ("d",), operations)
    near, far = {"a": 1.0, "b": 9.0, "c": 9.0, "d": 9.0}, dict.fromkeys("abcd", 1.0)
    found = minimum_cut(graph, near, far, {"x": 50.0, "a": 5.0, "b": 5.0, "c": 5.0, "d": 5.0})
    assert (found.device, found.crossing, found.seconds) == (frozenset({"a"}), ("a",), 9.0)


def test_the_round_trip_keeps_a_small_model_on_the_device() -> None:
    near, far = dict.fromkeys("abc", 10.0), dict.fromkeys("abc", 1.0)
    sent = dict.fromkeys("xabc", 0.0)
    assert len(minimum_cut(_chain(), near, far, sent, call_s=26.0).device) == 0
    assert len(minimum_cut(_chain(), near, far, sent, call_s=28.0).device) == 3
