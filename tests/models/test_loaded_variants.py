from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from airserve.models.baseline import BASELINE_NAME, Baseline
from airserve.models.baseline_package import with_baseline
from airserve.models.catalog import DeploymentSpec
from airserve.models.loaded_variants import LoadedVariants
from airserve.models.onnx_limits import OnnxLimits
from airserve.models.package import FILE_NAME, open_package, write_package
from tests.variants_for_tests import FULL, SMALL, two_variants

X = np.ones((1, 4), np.float32)


@pytest.mark.parametrize(
    ("serve", "factor"), [((), FULL), (("small",), SMALL), (("small", "full"), FULL), (("cascade", "small"), FULL)]
)
def test_the_best_is_the_most_accurate_of_those_that_are_served(
    tmp_path: Path, serve: tuple[str, ...], factor: float
) -> None:
    package = open_package(two_variants(tmp_path / "two", products=0, cascade=True))
    manifest = msgspec.structs.replace(package.manifest, serve=serve)
    loaded = LoadedVariants(DeploymentSpec("two", 1, "a", package.folder, manifest, ()), threads=1)
    assert loaded.best().run({"x": X})["y"][0, 0] == factor
    loaded.close()


def test_a_baseline_is_of_the_answers_that_are_served(tmp_path: Path) -> None:
    package = open_package(two_variants(tmp_path / "two", products=0))
    np.save(tmp_path / "rows.npy", np.repeat(X, 200, axis=0))
    files: dict[str, bytes | Path] = {name: package.path(name) for name in package.files if name != FILE_NAME}
    for name, factor in (("full", FULL), ("small", SMALL)):
        manifest = msgspec.structs.replace(package.manifest, serve=(name,), labels=())
        folder = write_package(tmp_path / name, manifest, files)
        made = with_baseline(folder, tmp_path / f"{name}-told", tmp_path / "rows.npy", OnnxLimits())
        baseline = msgspec.json.decode((made / BASELINE_NAME).read_bytes(), type=Baseline)
        of_answers = next(each for each in baseline.statistics if each.name.startswith("y"))
        assert of_answers.edges[0] == pytest.approx(factor)
