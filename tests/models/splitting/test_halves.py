from __future__ import annotations

import numpy as np
import onnx
import pytest

from airserve.engines.session import Session
from airserve.models.splitting.cut_tensors import cut_tensors
from airserve.models.splitting.graph import read_graph
from airserve.models.splitting.halves import head_of, tail_of, tensor_info
from airserve.models.splitting.profile import features, profile
from tests.models.splitting.networks import small_cnn


@pytest.mark.parametrize("tensor", cut_tensors(read_graph(small_cnn())))
def test_head_and_tail_give_what_the_whole_gives(tensor: str) -> None:
    model = small_cnn()
    rows = np.random.default_rng(1).normal(size=(3, 3, 32, 32)).astype(np.float32)
    shape = features(model, [tensor], {"x": rows[:1]}, {"x": rows})[tensor].shape
    info = tensor_info(tensor, onnx.TensorProto.FLOAT, shape)
    head, tail = head_of(model, info), tail_of(model, info)
    onnx.checker.check_model(head)
    onnx.checker.check_model(tail)
    whole = _run(model, {"x": rows})["scores"]
    np.testing.assert_allclose(_run(tail, _run(head, {"x": rows}))["scores"], whole, rtol=1e-4, atol=1e-5)
    # Each weight lies in one half alone, so that neither side has to hold the other's.
    names = [{each.name for each in part.graph.initializer if each.name.startswith("w")} for part in (head, tail)]
    assert names[0].isdisjoint(names[1])
    assert names[0] | names[1] == {"w1", "w2", "w3", "w4"}


def _run(model: onnx.ModelProto, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    session = Session(model.SerializeToString(), threads=1)
    return session.run(inputs, list(session.outputs))


def test_the_profile_accounts_for_the_whole_run_and_for_no_tensor_inside_a_group() -> None:
    found = profile(small_cnn(), {"x": np.zeros((1, 3, 32, 32), np.float32)})
    assert sum(found.operation_s.values()) == pytest.approx(found.total_s)
    # The rectifier runs inside the convolution before it.
    assert "r1" in found.whole_groups and "c1" not in found.whole_groups


def test_a_tensor_is_no_feature_where_its_first_axis_is_not_the_batch() -> None:
    row, rows = (np.zeros((count, 3, 32, 32), np.float32) for count in (1, 2))
    found = features(small_cnn(), ["c2", "shape", "counts"], {"x": row}, {"x": rows})
    assert {name: each.shape for name, each in found.items()} == {"c2": (1, 8, 8, 8)}
    assert found["c2"].values == 512
