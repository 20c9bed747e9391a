"""The `nn` engine beside scikit-learn's `MLPClassifier` at the same work: layers, batch, epochs, rate, optimiser."""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable

import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from airserve.nn import Adam, CategoricalCrossEntropy, Constant, Data, Network, Trainer, fit_scaling
from benchmarks import report

HIDDEN = (128, 64)
EPOCHS = 30
BATCH = 32
RATE = 1e-3
ROUNDS = 5


def main() -> None:
    """Train both in turn, several rounds, and publish the medians."""
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    test, learn = order[:359], order[359:]
    scaling = fit_scaling(x[learn])
    data = scaling.apply(x[learn]), y[learn], scaling.apply(x[test]), y[test]
    results: dict[str, list[tuple[float, float]]] = {"airserve.nn": [], "scikit-learn": []}
    for seed in range(ROUNDS):
        results["airserve.nn"].append(_timed(_ours, seed, *data))
        results["scikit-learn"].append(_timed(_theirs, seed, *data))
    _publish(results)


def _timed(train: Callable[..., float], seed: int, *data: np.ndarray) -> tuple[float, float]:
    start = time.perf_counter()
    accuracy = train(seed, *data)
    return time.perf_counter() - start, accuracy


def _ours(seed: int, x: np.ndarray, y: np.ndarray, x_test: np.ndarray, y_test: np.ndarray) -> float:
    network = Network((64, *HIDDEN, 10), output="softmax", seed=seed)
    trainer = Trainer(
        network, Data(x, y), loss=CategoricalCrossEntropy(), optimiser=Adam(), schedule=Constant(RATE),
        batch_size=BATCH, seed=seed,
    )  # fmt: skip
    trainer.run(EPOCHS)
    return float(np.mean(network.predict(x_test).argmax(axis=1) == y_test))


def _theirs(seed: int, x: np.ndarray, y: np.ndarray, x_test: np.ndarray, y_test: np.ndarray) -> float:
    # As many epochs without gain as there are epochs keep it from stopping before all epochs are done.
    model = MLPClassifier(
        HIDDEN, batch_size=BATCH, learning_rate_init=RATE, max_iter=EPOCHS, alpha=0.0, tol=0.0,
        n_iter_no_change=EPOCHS, random_state=seed,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(x, y)
    return float(model.score(x_test, y_test))


def _publish(results: dict[str, list[tuple[float, float]]]) -> None:
    seconds = {name: statistics.median(second for second, _ in runs) for name, runs in results.items()}
    accuracy = {name: statistics.median(right for _, right in runs) for name, runs in results.items()}
    reference = seconds["scikit-learn"]
    rows = [
        (name, f"{seconds[name]:.3f}", f"{seconds[name] / reference:.2f}", f"{accuracy[name]:.4f}") for name in results
    ]
    table = report.Table(
        "Learning to read digits",
        ("engine", "seconds", "of scikit-learn", "held-out accuracy"),
        rows,
        (
            f"64 → {' → '.join(map(str, HIDDEN))} → 10, ReLU, Adam at {RATE:g}, batch {BATCH}, {EPOCHS} epochs, "
            f"both float32 inputs; the median of {ROUNDS} rounds in turn.",
        ),
    )
    goal = report.Goal(
        "seconds of airserve.nn as a share of scikit-learn's", seconds["airserve.nn"] / reference, 1, True
    )
    panels = [
        report.Bars("time to train", "s", seconds),
        report.Bars("held-out accuracy", "%", {name: 100 * value for name, value in accuracy.items()}),
    ]
    report.publish("learning", "airserve.nn beside scikit-learn", [table], [goal], panels)


if __name__ == "__main__":
    main()
