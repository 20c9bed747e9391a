"""One figure of several rounds, and what becomes of a variant that cannot be timed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from airserve.core.errors import ModelFailedError
from airserve.models.optimise.family import Round
from airserve.models.optimise.tensor_family import TensorFamily
from airserve.models.optimise.timing import measured
from tests.models.optimise.originals import pictures, wide


def round_of(latencies: list[float], rates: dict[int, float], energy: float | None = None) -> Round:
    return Round(threads=2, latencies_ms=latencies, rows_per_s=rates, memory_bytes=100, energy_mj=energy)


def test_latencies_of_all_rounds_count_and_of_rates_the_median() -> None:
    rounds = [
        round_of([1.0] * 50, {1: 1000.0, 2: 1500.0, 4: 1520.0}),
        round_of([3.0] * 50, {1: 500.0, 2: 700.0, 4: 720.0, 8: 900.0}),
        round_of([1.0] * 50, {1: 1100.0, 2: 1600.0, 4: 1610.0}),
    ]
    found = measured(rounds, "a machine")
    assert (found.p50_ms, found.p99_ms, found.threads, found.machine) == (1.0, 3.0, 2, "a machine")
    # Four rows are hardly better than two, and eight were not tried in every round.
    assert (found.best_batch, found.rows_per_s) == (2, 1500.0)
    assert found.energy_mj is None
    assert measured([round_of([1.0], {1: 1.0}, energy) for energy in (2.0, 4.0, 9.0)], "m").energy_mj == 4.0


def test_a_round_is_of_a_fresh_process_on_the_rows_of_the_sample(tmp_path: Path) -> None:
    original, sample = pictures(tmp_path)
    found = TensorFamily(original, sample.calls, None, threads=1, seconds=0.05).time(original.file)
    assert len(found.latencies_ms) >= 10 and min(found.latencies_ms) > 0
    assert set(found.rows_per_s) >= {1, 2} and found.threads == 1
    assert found.memory_bytes >= 0


def test_what_cannot_be_loaded_or_fails_is_told_of(tmp_path: Path) -> None:
    original = wide(tmp_path)
    rows = [{"x": row[None]} for row in np.load(tmp_path / "rows.npy")]
    (tmp_path / "rubbish.onnx").write_bytes(b"rubbish")
    family = TensorFamily(original, rows, None, threads=1, seconds=0.01)
    with pytest.raises(ModelFailedError, match="cannot load"):
        family.time(tmp_path / "rubbish.onnx")
    narrow = TensorFamily(original, [{"x": row["x"][:, :7]} for row in rows], None, threads=1, seconds=0.01)
    with pytest.raises(ModelFailedError, match="the model failed on this input"):
        narrow.time(original.file)
