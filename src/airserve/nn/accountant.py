"""What a private run costs in privacy, by Google's `dp-accounting`: privacy loss distributions of the sampled Gaussian.

(ε, δ): whatever anybody concludes from the network, with or without one row in the training data, differs in
probability by a factor of at most e^ε, but for a chance of δ (Dwork et al., 2006). Adding or removing one row is the
relation; sources: Koskela, Jälkö and Honkela (AISTATS 2020), Doroshenko et al. (PoPETs 2022).
"""

from __future__ import annotations

from typing import Any

from airserve.nn.errors import TrainingError

_MOST_NOISE = 1000.0


def epsilon(noise: float, sampling_rate: float, steps: int, delta: float) -> float:
    """ε after `steps` steps with noise multiplier σ = `noise`, each row drawn with probability `sampling_rate`."""
    if noise == 0:
        return float("inf")
    accounting = _library()
    accountant = accounting.pld.PLDAccountant()
    accountant.compose(_run(accounting, noise, sampling_rate, steps))
    return float(accountant.get_epsilon(delta))


def noise_for(target_epsilon: float, sampling_rate: float, steps: int, delta: float) -> float:
    """The smallest noise multiplier whose run of `steps` steps costs at most `target_epsilon`."""
    if not target_epsilon > 0 or not 0 < delta < 1:
        raise TrainingError("ε is more than 0, δ lies between 0 and 1")
    accounting = _library()
    try:
        found = accounting.calibrate_dp_mechanism(
            accounting.pld.PLDAccountant,
            lambda noise: _run(accounting, noise, sampling_rate, steps),
            target_epsilon,
            delta,
            accounting.ExplicitBracketInterval(0.2, _MOST_NOISE),
            tol=1e-3,
        )
    except (accounting.BracketIntervalNotFoundError, ValueError) as error:
        raise TrainingError(f"no noise gives ε = {target_epsilon:g} over {steps} steps: {error}") from None
    return float(found)


def _run(accounting: Any, noise: float, sampling_rate: float, steps: int) -> Any:
    step = accounting.PoissonSampledDpEvent(sampling_rate, accounting.GaussianDpEvent(noise))
    return accounting.SelfComposedDpEvent(step, steps)


def _library() -> Any:
    try:
        import dp_accounting
        from dp_accounting import pld  # noqa: F401  # a submodule, reached as an attribute
    except ImportError as error:
        raise TrainingError(f"private training needs {error.name}: pip install 'airserve[train]'") from None
    return dp_accounting
