from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from airserve.nn import (
    Adam,
    BinaryCrossEntropy,
    CategoricalCrossEntropy,
    Constant,
    Cosine,
    Data,
    Dynamic,
    GradientDescent,
    MeanSquaredError,
    Network,
    Optimiser,
    Trainer,
    TrainingError,
    load_checkpoint,
    save_checkpoint,
)

RNG = np.random.default_rng(0)
X = RNG.standard_normal((200, 4)).astype(np.float32)
CLASSES = (X[:, 0] + X[:, 1] > 0).astype(np.int64)
OPTIMISERS = {
    "gd": lambda: GradientDescent(weight_decay=0.01),
    "momentum": lambda: GradientDescent(momentum=0.9),
    "adam": lambda: Adam(weight_decay=0.1),
}


def trainer(optimiser: Optimiser, *, seed: int = 0, patience: int | None = None, rate: float = 0.01) -> Trainer:
    return Trainer(
        Network((4, 8, 2), output="softmax", seed=seed),
        Data(X[:150], CLASSES[:150]),
        loss=CategoricalCrossEntropy(),
        optimiser=optimiser,
        schedule=Cosine(rate, 200),
        batch_size=16,
        validation=Data(X[150:], CLASSES[150:]) if patience else None,
        patience=patience,
        seed=seed,
    )


@pytest.mark.parametrize("name", OPTIMISERS)
def test_the_same_seed_repeats_a_run_to_the_bit_and_another_does_not(name: str) -> None:
    runs = [trainer(OPTIMISERS[name](), seed=seed) for seed in (1, 1, 2)]
    for run in runs:
        run.run(5)
    first, same, other = (run.network.parameters.tobytes() for run in runs)
    assert first == same != other


@pytest.mark.parametrize("name", OPTIMISERS)
@pytest.mark.parametrize("patience", [None, 3])
def test_a_resumed_run_ends_as_if_it_had_not_been_interrupted(name: str, patience: int | None, tmp_path: Path) -> None:
    whole = trainer(OPTIMISERS[name](), patience=patience)
    whole.run(9)
    first = trainer(OPTIMISERS[name](), patience=patience)
    first.run(4, lambda _: save_checkpoint(tmp_path / "c.safetensors", first))
    second = trainer(OPTIMISERS[name](), patience=patience)
    load_checkpoint(tmp_path / "c.safetensors", second)
    second.run(9)
    assert second.network.parameters.tobytes() == whole.network.parameters.tobytes()
    assert [epoch.loss for epoch in second.progress.history] == [epoch.loss for epoch in whole.progress.history]


def test_a_checkpoint_that_is_damaged_or_of_another_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    saved = trainer(Adam())
    saved.run(1)
    save_checkpoint(path, saved)
    other = Trainer(
        Network((4, 3, 2)), Data(X, CLASSES), loss=CategoricalCrossEntropy(), optimiser=Adam(), schedule=Constant(0.1)
    )
    with pytest.raises(TrainingError, match="is of a network"):
        load_checkpoint(path, other)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(TrainingError, match="cannot be read"):
        load_checkpoint(path, trainer(Adam()))


def test_early_stopping_keeps_the_best_epoch() -> None:
    run = trainer(Adam(), patience=2, rate=0.3)
    history = run.run(200)
    assert run.progress.stopped_early
    assert len(history) < 200
    held = [epoch.validation_loss for epoch in history]
    outputs = run.network.forward(X[150:])
    assert CategoricalCrossEntropy().value(outputs, CLASSES[150:]) == pytest.approx(min(held), abs=1e-6)  # type: ignore[type-var]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (GradientDescent(), lambda p: torch.optim.SGD(p, lr=0.05)),
        (GradientDescent(momentum=0.9), lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9)),
        (Adam(), lambda p: torch.optim.Adam(p, lr=0.05)),
        (Adam(beta1=0.8, beta2=0.95), lambda p: torch.optim.Adam(p, lr=0.05, betas=(0.8, 0.95))),
    ],
)
def test_optimisers_step_as_pytorchs_do(ours: Optimiser, theirs: object) -> None:
    network = Network((3, 2), dtype=np.float64)
    parameter = torch.tensor(network.parameters.copy(), requires_grad=True)
    optimiser = theirs([parameter])  # type: ignore[operator]
    rng = np.random.default_rng(5)
    for _ in range(20):
        gradient = rng.standard_normal(network.parameters.shape)
        network.gradients[:] = gradient
        ours.step(network, 0.05)
        parameter.grad = torch.tensor(gradient)
        optimiser.step()
    np.testing.assert_allclose(network.parameters, parameter.detach().numpy(), atol=1e-9)


def test_weight_decay_pulls_weights_and_leaves_biases() -> None:
    for optimiser in (GradientDescent(weight_decay=0.5), Adam(weight_decay=0.5)):
        network = Network((3, 2))
        network.layers[0].b[:] = 1
        before = np.abs(network.layers[0].w).sum()
        network.gradients[:] = 0
        optimiser.step(network, 0.1)
        assert np.abs(network.layers[0].w).sum() < before
        np.testing.assert_array_equal(network.layers[0].b, 1)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.99])
def test_the_dynamic_rate_follows_its_rule(rho: float) -> None:
    schedule, alpha, beta = Dynamic(0.1, rho, 0.001), 0.1, 0.001
    for t in range(500):
        assert schedule.rate(t) == pytest.approx(alpha, rel=1e-9)
        alpha = alpha * rho + beta * (1 - rho)


def test_the_rate_changes_per_step_or_per_epoch_as_stated() -> None:
    rates = {}
    for per in ("step", "epoch"):
        run = Trainer(
            Network((4, 2)), Data(X, CLASSES), loss=CategoricalCrossEntropy(), optimiser=GradientDescent(),
            schedule=Dynamic(0.1, 0.9, 0.0, per), batch_size=50,
        )  # fmt: skip
        rates[per] = [epoch.rate for epoch in run.run(3)]
    assert rates["epoch"] == pytest.approx([0.1, 0.09, 0.081])
    assert rates["step"] == pytest.approx([0.1 * 0.9 ** (4 * epoch + 3) for epoch in range(3)])


def test_gradient_descent_takes_the_whole_data_set_as_one_batch() -> None:
    run = Trainer(
        Network((4, 2)), Data(X, CLASSES), loss=CategoricalCrossEntropy(), optimiser=GradientDescent(),
        schedule=Constant(0.5),
    )  # fmt: skip
    losses = [epoch.loss for epoch in run.run(50)]
    assert run.progress.step == 50
    assert losses == sorted(losses, reverse=True)


@pytest.mark.parametrize(
    ("loss", "targets", "words"),
    [
        (MeanSquaredError(), np.zeros(200), "reshape"),
        (MeanSquaredError(), np.zeros((200, 3)), "needs (N, 2)"),
        (BinaryCrossEntropy(), np.full((200, 2), 2.0), "between 0 and 1"),
        (CategoricalCrossEntropy(), np.zeros((200, 1), np.int64), "class numbers"),
        (CategoricalCrossEntropy(), np.full(200, 2), "from 0 to 1"),
        (CategoricalCrossEntropy(), np.zeros(199, np.int64), "200 rows and 199"),
        (MeanSquaredError(), np.full((200, 2), np.nan), "no numbers"),
    ],
)
def test_targets_that_do_not_fit_are_refused(loss: object, targets: np.ndarray, words: str) -> None:
    with pytest.raises(TrainingError) as refusal:
        Trainer(Network((4, 2)), Data(X, targets), loss=loss, optimiser=Adam(), schedule=Constant(0.1))  # type: ignore[arg-type]
    assert words in str(refusal.value)


def test_shapes_that_would_broadcast_are_refused() -> None:
    for loss in (MeanSquaredError(), BinaryCrossEntropy()):
        for call in (loss.value, loss.gradient):
            with pytest.raises(TrainingError, match=r"\(5, 1\) and targets \(5,\)"):
                call(np.zeros((5, 1)), np.zeros(5))


def test_bad_features_and_rates_are_refused_with_what_to_do() -> None:
    def make(x: np.ndarray) -> Trainer:
        loss = CategoricalCrossEntropy()
        return Trainer(Network((4, 2)), Data(x, CLASSES[: len(x)]), loss=loss, optimiser=GradientDescent(),
                       schedule=Constant(0.1))  # fmt: skip

    broken = X.copy()
    broken[3, 2] = np.nan
    with pytest.raises(TrainingError, match=r"\(3, 2\)"):
        make(broken)
    with pytest.raises(TrainingError, match="empty"):
        make(X[:0])
    with pytest.raises(TrainingError, match=r"takes \(N, 4\)"):
        make(X[:, :3])
    diverging = Trainer(Network((4, 2)), Data(X, X[:, :2] * 5), loss=MeanSquaredError(), optimiser=GradientDescent(),
                        schedule=Constant(50.0))  # fmt: skip
    with pytest.raises(TrainingError, match="learning rate"), np.errstate(all="ignore"):
        diverging.run(200)
    with pytest.raises(TrainingError, match="no activation"):
        Network((4, 2), hidden="swish")
    with pytest.raises(TrainingError, match="ρ"):
        Dynamic(0.1, 1.0, 0.0)
