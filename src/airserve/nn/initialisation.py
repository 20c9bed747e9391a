"""Where the weights begin: small enough to learn, large enough to tell neurons apart. Biases begin at zero."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def he(rng: np.random.Generator, inputs: int, units: int) -> Array:
    """Normal with variance 2 / inputs, for ReLU (He et al., ICCV 2015, eq. 10); (units, inputs), float64."""
    return rng.standard_normal((units, inputs)) * math.sqrt(2 / inputs)


def glorot(rng: np.random.Generator, inputs: int, units: int) -> Array:
    """Uniform within ±√(6 / (inputs + units)) (Glorot and Bengio, AISTATS 2010, eq. 16); (units, inputs), float64."""
    bound = math.sqrt(6 / (inputs + units))
    return rng.uniform(-bound, bound, (units, inputs))
