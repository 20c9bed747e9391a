from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from airserve.core.call import VariantAsked
from airserve.core.errors import InvalidInputError
from airserve.models.catalog import DeploymentSpec
from airserve.models.loaded_variants import LoadedVariants, weights_of
from airserve.models.package import open_package
from airserve.serving.allowance import allowed, best_of
from airserve.serving.version import Version
from airserve.serving.warmup import cascade_curve, load_warm
from tests.serving.simulation import MS, curve_of
from tests.variants_for_tests import FULL, SMALL, two_variants

X = np.ones((1, 4), np.float32)


def spec_of(folder: Path, *serve: str) -> DeploymentSpec:
    package = open_package(two_variants(folder / "two", products=0, cascade=True))
    manifest = msgspec.structs.replace(package.manifest, serve=serve)
    return DeploymentSpec("two", 1, "a", package.folder, manifest, ())


def test_every_served_variant_is_loaded_and_measured_the_most_accurate_first(tmp_path: Path) -> None:
    warm = load_warm(spec_of(tmp_path, "small", "cascade", "full"), cores=1)
    assert [(each.name, each.accuracy) for each in warm.variants] == [("full", 1.0), ("cascade", 0.99), ("small", 0.97)]
    assert [each.model.run({"x": X})["y"][0, 0] for each in warm.variants] == [FULL, FULL, SMALL]
    assert all(each.curve.predict(1) > 0 for each in warm.variants)
    warm.close()


def test_a_variant_that_is_chosen_alone_is_served_alone(tmp_path: Path) -> None:
    warm = load_warm(spec_of(tmp_path, "small"), cores=1)
    assert [each.name for each in warm.variants] == ["small"]
    assert warm.model.run({"x": X})["y"][0, 0] == SMALL
    warm.close()


def test_weights_are_in_memory_once_and_counted_once(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, "full", "cascade")
    assert [each.name for each in weights_of(spec.manifest)] == ["full", "small"]
    manifest = spec.manifest
    loaded = LoadedVariants(spec, threads=1)
    full = loaded.model(manifest.variants[0])
    cascade = loaded.model(manifest.variants[2])
    assert loaded.model(manifest.variants[0]) is full
    assert cascade.run({"x": X})["y"][0, 0] == FULL
    loaded.close()
    sizes = sum(each.size_bytes for each in manifest.variants[:2])
    assert Version(spec, lambda version, until: pytest.fail("not loaded")).weight_bytes == sizes


def test_a_cascade_is_expected_to_take_what_its_share_says() -> None:
    full, small = curve_of(10.0 * MS), curve_of(1.0 * MS)
    assert cascade_curve(small, full, 1.0, 32).predict(8) == pytest.approx(small.predict(8), rel=0.02)
    assert cascade_curve(small, full, 0.0, 32).predict(8) == pytest.approx(88 * MS, rel=0.02)
    assert cascade_curve(small, full, 0.75, 32).predict(8) == pytest.approx(8 * MS + 20 * MS, rel=0.02)


def test_what_may_answer_is_what_plan_and_call_ask_for_together(tmp_path: Path) -> None:
    served = spec_of(tmp_path, "full", "small", "cascade").manifest.served
    assert allowed("two", served, None, None) == 0b111
    assert allowed("two", served, None, 0.98) == 0b011
    assert allowed("two", served, VariantAsked(min_accuracy=1.0), 0.98) == 0b001
    assert allowed("two", served, VariantAsked("small"), 0.9) == 0b100
    assert best_of(0b110) == 1
    # A plan is for many models: what is the best of one of them is not withheld.
    assert allowed("two", served[1:], None, 0.995) == 0b01
    with pytest.raises(InvalidInputError, match=r"an accuracy of 0\.995 or more"):
        allowed("two", served[1:], VariantAsked(min_accuracy=0.995), None)
    with pytest.raises(InvalidInputError, match=r"as 'small' has an accuracy of 0\.98 or more; there is full \(1\)"):
        allowed("two", served, VariantAsked("small"), 0.98)
    with pytest.raises(InvalidInputError, match="there is none"):
        allowed("words", (), VariantAsked("small"), None)
