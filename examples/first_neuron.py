"""The first neuron: logistic regression on five points, by hand and by airserve.nn, with the same weights.

    p = σ(w·x + b)        L = mean of −y·log p − (1 − y)·log(1 − p)
    ∂L/∂w = mean of (p − y)·x        ∂L/∂b = mean of (p − y)

Run it: python examples/first_neuron.py
"""

import numpy as np

from airserve.nn import BinaryCrossEntropy, Constant, Data, GradientDescent, Network, Trainer, TrainingError

X = np.array([0.0, 1.0, 2.0, 3.0, 4.0])
Y = np.array([0.0, 1.0, 1.0, 0.0, 0.0])
RATE = 0.01
EPOCHS = 1000


def by_hand() -> tuple[float, float]:
    """Gradient descent written out: w and b."""
    w = b = 0.0
    for _ in range(EPOCHS):
        p = 1 / (1 + np.exp(-(w * X + b)))
        error = p - Y
        w -= RATE * np.mean(error * X)
        b -= RATE * np.mean(error)
    return float(w), float(b)


def by_airserve() -> tuple[float, float]:
    """The same by one neuron of airserve.nn: w and b."""
    network = Network((1, 1), output="sigmoid", dtype=np.float64)
    network.parameters[:] = 0
    data = Data(X.reshape(-1, 1), Y.reshape(-1, 1))
    trainer = Trainer(network, data, loss=BinaryCrossEntropy(), optimiser=GradientDescent(), schedule=Constant(RATE))
    trainer.run(EPOCHS)
    (layer,) = network.layers
    return float(layer.w[0, 0]), float(layer.b[0])


def the_trap() -> str:
    """Predictions of shape (5, 1) less targets of shape (5,) broadcast to (5, 5) in NumPy; here they are refused."""
    predictions = np.zeros((5, 1))
    assert (predictions - Y).shape == (5, 5)
    try:
        BinaryCrossEntropy().value(predictions, Y)
    except TrainingError as error:
        return str(error)
    raise AssertionError("shapes (5, 1) and (5,) were accepted")


if __name__ == "__main__":
    hand, ours = by_hand(), by_airserve()
    print(f"by hand      w = {hand[0]:+.12f}   b = {hand[1]:+.12f}")
    print(f"airserve.nn  w = {ours[0]:+.12f}   b = {ours[1]:+.12f}")
    assert np.allclose(hand, ours, rtol=0, atol=1e-12)
    print(f"the trap     {the_trap()}")
