from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "first_neuron.py"


def test_the_neuron_by_hand_and_by_the_engine_have_the_same_weights() -> None:
    done = subprocess.run([sys.executable, EXAMPLE], capture_output=True, text=True, timeout=60, check=True)
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[0][-6:] == lines[1][-6:]
    assert "shape (5, 1) and targets (5,)" in done.stdout


def test_by_hand_is_what_the_textbook_gives() -> None:
    example = runpy.run_path(str(EXAMPLE))
    w, b = example["by_hand"]()
    # After 1,000 small steps the decision lies right of the middle and the loss has fallen below log 2.
    x, y = example["X"], example["Y"]
    import numpy as np

    p = 1 / (1 + np.exp(-(w * x + b)))
    loss = -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))
    assert loss < np.log(2)
    assert w < 0 < b
