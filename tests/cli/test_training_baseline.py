"""What training leaves in the package for drift: a baseline, unless rows are few."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from airserve.cli.training import Recipe, train_to_package
from airserve.models.baseline import BASELINE_NAME, Baseline, parse_baseline
from airserve.models.package import open_package


def baseline_in(folder: Path) -> Baseline | None:
    package = open_package(folder)
    if BASELINE_NAME not in package.files:
        return None
    return parse_baseline((folder / BASELINE_NAME).read_bytes(), package.manifest)


def test_it_tells_of_the_columns_and_the_classes_of_the_rows_that_were_learnt_from(tmp_path: Path) -> None:
    train_to_package("sklearn:digits", tmp_path / "digits", name="digits", recipe=Recipe(epochs=1))
    found = baseline_in(tmp_path / "digits")
    assert found is not None and found.rows == 1438
    assert [each.name for each in found.statistics][-2:] == ["class", "probability"]
    assert len(found.statistics) == 66 and found.statistics[0].name == "pixel_0_0"
    classes = found.statistics[-2]
    assert len(classes.edges) == 11 and min(classes.counts[1:-2]) > 50


def test_the_same_training_gives_the_same_package(tmp_path: Path) -> None:
    for name in ("a", "b"):
        train_to_package("sklearn:iris", tmp_path / name, name="iris", recipe=Recipe(epochs=1))
    assert open_package(tmp_path / "a").address == open_package(tmp_path / "b").address


def test_too_few_rows_leave_none(tmp_path: Path) -> None:
    np.savez(tmp_path / "few.npz", x=np.eye(60, 4, dtype=np.float32), y=np.arange(60) % 2)
    train_to_package(str(tmp_path / "few.npz"), tmp_path / "m", name="m", recipe=Recipe(epochs=1))
    assert baseline_in(tmp_path / "m") is None
