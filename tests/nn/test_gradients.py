"""Every gradient against central differences and against PyTorch, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from airserve.nn import ACTIVATIONS, BinaryCrossEntropy, CategoricalCrossEntropy, Dense, MeanSquaredError, Network
from airserve.nn.losses import Loss

STEP = 1e-6
TORCH_OF = {
    "identity": lambda a: a,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "softmax": lambda a: torch.softmax(a, dim=-1),
}
sizes = st.integers(1, 5)
seeds = st.integers(0, 10_000)


def numeric(function: Any, at: np.ndarray) -> np.ndarray:
    """∂function/∂at by central differences."""
    grad = np.zeros_like(at)
    for index in np.ndindex(at.shape):
        keep = at[index]
        at[index] = keep + STEP
        above = function()
        at[index] = keep - STEP
        grad[index] = (above - function()) / (2 * STEP)
        at[index] = keep
    return grad


def away_from_the_kink(a: np.ndarray) -> np.ndarray:
    return np.where(np.abs(a) < 0.01, 0.5, a)


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(sorted(ACTIVATIONS)), sizes, sizes, seeds)
def test_activations(name: str, rows: int, units: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    f = ACTIVATIONS[name]
    a, upstream = away_from_the_kink(rng.standard_normal((rows, units))), rng.standard_normal((rows, units))
    delta = f.backward(f.forward(a.copy()), upstream.copy())
    np.testing.assert_allclose(delta, numeric(lambda: (f.forward(a.copy()) * upstream).sum(), a), atol=1e-7)
    tensor = torch.tensor(a, requires_grad=True)
    out = TORCH_OF[name](tensor)
    np.testing.assert_allclose(f.forward(a.copy()), out.detach().numpy(), atol=1e-12)
    out.backward(torch.tensor(upstream))
    np.testing.assert_allclose(delta, tensor.grad.numpy(), atol=1e-10)


def losses(rng: np.random.Generator, rows: int, units: int) -> list[tuple[Loss, np.ndarray, Any]]:
    f = torch.nn.functional
    return [
        (MeanSquaredError(), rng.standard_normal((rows, units)), f.mse_loss),
        (BinaryCrossEntropy(), rng.integers(0, 2, (rows, units)).astype(float), f.binary_cross_entropy_with_logits),
        (CategoricalCrossEntropy(), rng.integers(0, units, rows), f.cross_entropy),
    ]


@settings(max_examples=20, deadline=None)
@given(sizes, sizes, seeds)
def test_losses(rows: int, units: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((rows, units)) * 3
    for loss, targets, theirs in losses(rng, rows, units):
        grad = loss.gradient(z, targets)
        np.testing.assert_allclose(grad, numeric(lambda: loss.value(z, targets), z), atol=1e-7)
        tensor = torch.tensor(z, requires_grad=True)
        value = theirs(tensor, torch.tensor(targets))
        value.backward()
        assert loss.value(z, targets) == pytest.approx(value.item(), abs=1e-10)
        np.testing.assert_allclose(grad, tensor.grad.numpy(), atol=1e-10)


@settings(max_examples=20, deadline=None)
@given(sizes, sizes, sizes, st.sampled_from(sorted(ACTIVATIONS)), seeds)
def test_a_layer(rows: int, inputs: int, units: int, name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    layer = Dense(inputs, units, ACTIVATIONS[name])
    layer.w, layer.b = rng.standard_normal((units, inputs)), rng.standard_normal(units)
    layer.grad_w, layer.grad_b = np.zeros_like(layer.w), np.zeros_like(layer.b)
    x, upstream = rng.standard_normal((rows, inputs)), rng.standard_normal((rows, units))

    def value() -> float:
        return float((layer.forward(x) * upstream).sum())

    layer.forward(x)
    grad_x = layer.backward(upstream.copy())
    grad_w, grad_b = layer.grad_w.copy(), layer.grad_b.copy()
    if name != "relu" or np.abs(x @ layer.w.T + layer.b).min() > 1e-3:
        np.testing.assert_allclose(grad_w, numeric(value, layer.w), atol=1e-6)
        np.testing.assert_allclose(grad_b, numeric(value, layer.b), atol=1e-6)
        np.testing.assert_allclose(grad_x, numeric(value, x), atol=1e-6)


@pytest.mark.parametrize("hidden", ["relu", "tanh", "sigmoid"])
@pytest.mark.parametrize("sizes_of", [(3, 4), (3, 5, 4), (3, 6, 5, 4)])
def test_a_whole_network_agrees_with_pytorch(hidden: str, sizes_of: tuple[int, ...]) -> None:
    rng = np.random.default_rng(3)
    network = Network(sizes_of, hidden=hidden, output="softmax", seed=1, dtype=np.float64)
    x, targets = rng.standard_normal((7, 3)), rng.integers(0, 4, 7)
    loss = CategoricalCrossEntropy()
    network.backward(loss.gradient(network.forward(x), targets))
    weights = [
        (torch.tensor(layer.w.copy(), requires_grad=True), torch.tensor(layer.b.copy(), requires_grad=True))
        for layer in network.layers
    ]
    flow = torch.tensor(x)
    for index, (w, b) in enumerate(weights):
        flow = flow @ w.T + b
        if index < len(weights) - 1:
            flow = TORCH_OF[hidden](flow)
    torch.nn.functional.cross_entropy(flow, torch.tensor(targets)).backward()
    for layer, (w, b) in zip(network.layers, weights, strict=True):
        np.testing.assert_allclose(layer.grad_w, w.grad.numpy(), atol=1e-12)
        np.testing.assert_allclose(layer.grad_b, b.grad.numpy(), atol=1e-12)


@pytest.mark.parametrize("z", [1e4, -1e4, 1e30, -1e30])
def test_cross_entropies_stay_finite_for_huge_logits(z: float) -> None:
    logits = np.array([[z, 0.0]])
    assert np.isfinite(CategoricalCrossEntropy().value(logits, np.array([0])))
    assert np.isfinite(CategoricalCrossEntropy().gradient(logits, np.array([1]))).all()
    assert np.isfinite(BinaryCrossEntropy().value(logits, np.array([[1.0, 0.0]])))
    assert np.isfinite(BinaryCrossEntropy().gradient(logits, np.array([[0.0, 1.0]]))).all()
