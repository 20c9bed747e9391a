"""`airserve publish --baseline`: a package gets histograms of a sample, as the next version, or a sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from airserve.models.baseline import BASELINE_NAME
from tests import commands
from tests.conftest import airserve
from tests.models_for_tests import save_linear


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_linear(tmp_path / "linear.onnx")
    np.save(tmp_path / "rows.npy", np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32))
    np.save(tmp_path / "shifted.npy", np.random.default_rng(1).normal(size=(300, 4)).astype(np.float32) + 2)
    return tmp_path


def test_a_version_gets_a_baseline_and_others_are_as_they_were(folder: Path) -> None:
    state = ("--state-dir", str(folder / "state"))
    assert airserve("publish", str(folder / "linear.onnx"), *state, "--json")["version"] == 1
    without = commands.run("drift", "linear", "--data", str(folder / "rows.npy"), *state)
    assert without.returncode == 4 and "has a baseline" in without.stderr
    sample = ("--baseline", str(folder / "rows.npy"))
    assert airserve("publish", str(folder / "linear.onnx"), *sample, *state, "--json")["version"] == 2
    (stored,) = [path.parent for path in (folder / "state" / "store").glob(f"*/{BASELINE_NAME}")]
    assert b"x[3]" in (stored / BASELINE_NAME).read_bytes()
    assert commands.run("drift", "linear", "--data", str(folder / "rows.npy"), *state).returncode == 0
    assert commands.run("drift", "linear", "--data", str(folder / "shifted.npy"), *state).returncode == 1


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("--baseline", "few.npy"), 3, "at least 100 rows"),
        (("--baseline", "none.npy"), 4, "does not exist"),
        (("--baseline", "wide.npy"), 3, "a row of the sample is"),
        (("--baseline", "rows.npy", "--sealed"), 3, "a sealed model has no baseline"),
    ],
)
def test_what_makes_no_baseline_is_refused_and_nothing_is_published(
    arguments: tuple[str, ...], code: int, sentence: str, folder: Path
) -> None:
    np.save(folder / "few.npy", np.zeros((99, 4), np.float32))
    np.save(folder / "wide.npy", np.zeros((200, 5), np.float32))
    state = ("--state-dir", str(folder / "state"))
    done = commands.run("publish", "linear.onnx", *arguments, *state, cwd=folder)
    assert done.returncode == code and sentence in " ".join(done.stderr.split())
    assert airserve("models", "list", *state, "--json") == []
