from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airserve.nn import (
    Adam,
    CategoricalCrossEntropy,
    Constant,
    Data,
    GradientDescent,
    MeanSquaredError,
    Network,
    Privacy,
    Trainer,
    TrainingError,
    load_checkpoint,
    save_checkpoint,
)
from airserve.nn.accountant import epsilon, noise_for

CROSS_ENTROPY = CategoricalCrossEntropy()


def case(seed: int, rows: int, hidden: str) -> tuple[Network, Any, Any]:
    rng = np.random.default_rng(seed)
    network = Network((3, 5, 4), hidden=hidden, seed=seed, dtype=np.float64)
    return network, rng.normal(0, 3, (rows, 3)), rng.integers(0, 4, rows)


def summed(network: Network, x: Any, classes: Any, clip: float) -> Any:
    """The sum of the cut gradients, without noise."""
    privacy = Privacy(clip, 0.0)
    privacy.gradients(network, CROSS_ENTROPY, network.forward(x), classes, batch_size=1)
    return network.gradients.copy()


cases = given(st.integers(0, 1 << 16), st.integers(1, 8), st.sampled_from(["relu", "tanh", "sigmoid"]))


@cases
def test_the_lengths_are_those_of_the_gradients_of_each_row_alone(seed: int, rows: int, hidden: str) -> None:
    network, x, classes = case(seed, rows, hidden)
    alone = []
    for row in range(rows):
        network.backward(CROSS_ENTROPY.gradient(network.forward(x[row : row + 1]), classes[row : row + 1]))
        alone.append(np.linalg.norm(network.gradients))
    network.backward(CROSS_ENTROPY.gradient(network.forward(x), classes) * rows)
    assert np.sqrt(sum(layer.squared_lengths() for layer in network.layers)) == pytest.approx(alone)


@cases
def test_one_row_moves_the_sum_by_no_more_than_the_clip(seed: int, rows: int, hidden: str) -> None:
    network, x, classes = case(seed, rows + 1, hidden)
    x[0] *= 1000
    moved = summed(network, x, classes, 0.5) - summed(network, x[1:], classes[1:], 0.5)
    assert np.linalg.norm(moved) <= 0.5 * (1 + 1e-9)


def test_short_gradients_are_not_cut() -> None:
    network, x, classes = case(0, 6, "tanh")
    network.backward(CROSS_ENTROPY.gradient(network.forward(x), classes) * 6)
    plain = network.gradients.copy()
    assert summed(network, x, classes, 1e6) == pytest.approx(plain)


def test_the_noise_has_the_width_of_sigma_times_the_clip_over_the_batch_even_where_nobody_was_drawn() -> None:
    network = Network((200, 100, 4), dtype=np.float64)
    privacy = Privacy(0.5, 3.0, np.random.default_rng(0))
    privacy.gradients(network, CROSS_ENTROPY, np.empty((0, 4)), np.empty(0, np.int64), batch_size=10)
    assert network.gradients.std() == pytest.approx(3.0 * 0.5 / 10, rel=0.02)


def test_rows_are_drawn_each_for_itself() -> None:
    privacy = Privacy(1.0, 1.0, np.random.default_rng(0))
    sizes = [len(privacy.draw(1000, 100)) for _ in range(400)]
    assert np.mean(sizes) == pytest.approx(100, abs=2)
    # Of a binomial distribution; batches of one size would have none.
    assert np.std(sizes) == pytest.approx(math.sqrt(1000 * 0.1 * 0.9), rel=0.15)


def test_epsilon_is_that_of_the_privacy_loss_integrated_by_hand() -> None:
    sigma, q, delta = 1.5, 0.2, 1e-5
    z = np.linspace(-40, 40, 800_001)
    without = np.exp(-(z**2) / (2 * sigma**2)) / (sigma * math.sqrt(2 * math.pi))
    with_row = (1 - q) * without + q * np.exp(-((z - 1) ** 2) / (2 * sigma**2)) / (sigma * math.sqrt(2 * math.pi))

    def failure(eps: float) -> float:
        step = z[1] - z[0]
        added = np.maximum(0, with_row - math.exp(eps) * without).sum() * step
        removed = np.maximum(0, without - math.exp(eps) * with_row).sum() * step
        return float(max(added, removed))

    found = epsilon(sigma, q, 1, delta)
    assert failure(found * 1.005) <= delta <= failure(found * 0.995)


def test_more_steps_cost_more_and_the_noise_for_an_epsilon_costs_just_that() -> None:
    noise = noise_for(2.0, 0.1, 100, 1e-5)
    assert epsilon(noise, 0.1, 100, 1e-5) == pytest.approx(2.0, rel=0.005)
    assert epsilon(noise, 0.1, 200, 1e-5) > 2.0
    assert epsilon(0.0, 0.1, 1, 1e-5) == math.inf
    with pytest.raises(TrainingError, match="ε is more than 0"):
        noise_for(0.0, 0.1, 100, 1e-5)


def run(privacy: Privacy | None, *, epochs: int = 1, rows: int = 60, seed: int = 0) -> Trainer:
    rng = np.random.default_rng(9)
    x = rng.normal(size=(2 * rows, 20)).astype(np.float32)
    classes = rng.integers(0, 2, 2 * rows)
    trainer = Trainer(
        Network((20, 64, 2), output="softmax", seed=seed),
        Data(x[:rows], classes[:rows]),
        loss=CROSS_ENTROPY,
        optimiser=Adam(),
        schedule=Constant(0.01),
        batch_size=20,
        seed=seed,
        privacy=privacy,
    )
    trainer.run(epochs)
    return trainer


def test_what_is_drawn_does_not_follow_from_the_seed() -> None:
    first, second = (run(Privacy(1.0, 1.0)).network.parameters for _ in range(2))
    assert not np.array_equal(first, second)


def test_whether_a_row_was_learnt_from_shows_without_privacy_and_hardly_with_it() -> None:
    """The loss attack (Yeom et al., CSF 2018): rows with a small loss are taken for those that were learnt."""
    rows = 60

    def advantage(trainer: Trainer) -> float:
        rng = np.random.default_rng(9)
        x = rng.normal(size=(2 * rows, 20)).astype(np.float32)
        classes = rng.integers(0, 2, 2 * rows)
        wrong = 1 - trainer.network.predict(x)[np.arange(2 * rows), classes]
        return float(max((wrong[:rows] <= t).mean() - (wrong[rows:] <= t).mean() for t in wrong))

    steps, sampling = 40 * 3, 20 / rows
    noise = 17.0
    assert epsilon(noise, sampling, steps, 1e-3) <= 0.5
    private = Privacy(1.0, noise, np.random.default_rng(1))
    # (ε, δ) bounds the advantage of every attack by (e^ε − 1 + 2δ) / (e^ε + 1): 0.25 here.
    assert advantage(run(None, epochs=40)) > 0.5
    # The bound is on chances; what is measured on 60 rows strays by 1/√60 from them.
    assert advantage(run(private, epochs=40)) < 0.25 + 1 / math.sqrt(rows) + 0.05


def test_a_checkpoint_of_other_noise_is_not_gone_on_from(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "c", run(None))
    with pytest.raises(TrainingError, match="other privacy settings"):
        load_checkpoint(tmp_path / "c", run(Privacy(1.0, 1.0)))


def test_values_are_learnt_privately_too() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (2000, 3)).astype(np.float32)
    targets = (x @ np.array([[0.5], [-0.2], [0.1]])).astype(np.float32)
    trainer = Trainer(
        Network((3, 1)), Data(x, targets), loss=MeanSquaredError(), optimiser=GradientDescent(),
        schedule=Constant(0.5), batch_size=500, privacy=Privacy(0.5, 1.0, np.random.default_rng(0)),
    )  # fmt: skip
    trainer.run(30)
    assert trainer.network.layers[0].w == pytest.approx(np.array([[0.5, -0.2, 0.1]]), abs=0.1)


@pytest.mark.parametrize(("clip", "noise"), [(0.0, 1.0), (-1.0, 1.0), (1.0, -1.0), (math.nan, 1.0)])
def test_what_protects_nobody_is_refused(clip: float, noise: float) -> None:
    with pytest.raises(TrainingError, match="more than 0"):
        Privacy(clip, noise)


@settings(deadline=None)
@given(st.integers(2, 50))
def test_a_run_whose_batches_are_empty_goes_on(rows: int) -> None:
    network = Network((2, 2), output="softmax")
    trainer = Trainer(
        network, Data(np.ones((rows, 2)), np.zeros(rows, np.int64)), loss=CROSS_ENTROPY, optimiser=GradientDescent(),
        schedule=Constant(0.1), batch_size=1, privacy=Privacy(1.0, 1.0),
    )  # fmt: skip
    trainer.run(1)
    assert np.isfinite(network.parameters).all()
