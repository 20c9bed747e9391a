from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from airserve.core.errors import BadPackageError
from airserve.engines.options import Text, Vision
from airserve.models.manifest import Manifest, check_manifest
from airserve.models.package import open_package
from airserve.models.vision_package import package_vision
from tests.step_models import save_bag_of_words, save_mean_colour

LABELS = ("red", "green", "blue")
VISION = Vision(size=8, resize=10, top_k=2)


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    graph = save_mean_colour(tmp_path / "colours.onnx")
    return open_package(
        package_vision(graph, tmp_path / "package", name="colours", labels=LABELS, vision=VISION)
    ).manifest


def test_a_classifier_becomes_a_package_that_takes_pictures(manifest: Manifest) -> None:
    assert [(each.name, each.datatype, each.shape) for each in (*manifest.inputs, *manifest.outputs)] == [
        ("image", "BYTES", (-1,)),
        ("label", "BYTES", (-1, 2)),
        ("probability", "FP32", (-1, 2)),
        ("index", "INT32", (-1, 2)),
    ]
    assert manifest.labels == LABELS and manifest.vision == VISION and manifest.max_batch == 64


@pytest.mark.parametrize(
    ("labels", "vision", "words"),
    [
        (("a", "b"), VISION, "3 classes apart, but there are 2 labels"),
        (LABELS, Vision(size=16, resize=16), "see size, layout"),
        (LABELS, Vision(size=8, resize=8, layout="NHWC"), "see size, layout"),
        (LABELS, Vision(size=8, resize=4), "size ≤ resize"),
    ],
)
def test_what_does_not_fit_the_graph_is_refused(
    tmp_path: Path, labels: tuple[str, ...], vision: Vision, words: str
) -> None:
    graph = save_mean_colour(tmp_path / "colours.onnx")
    with pytest.raises(BadPackageError, match=words):
        package_vision(graph, tmp_path / "package", name="colours", labels=labels, vision=vision)
    assert not (tmp_path / "package").exists()


def test_a_graph_that_takes_no_pictures_is_refused(tmp_path: Path) -> None:
    graph = save_bag_of_words(tmp_path / "words.onnx")
    with pytest.raises(BadPackageError, match="does not take one FP32 tensor of pictures"):
        package_vision(graph, tmp_path / "package", name="words", labels=(), vision=VISION)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"text": Text()}, "not both"),
        ({"engine": "llama"}, "steps of the engine onnx"),
        ({"max_batch": 0}, "max_batch of 1 or more"),
        ({"labels": ("only",)}, r"label BYTES \[-1, 1\]"),
        ({"vision": Vision(size=8, resize=8, top_k=3)}, r"label BYTES \[-1, 3\]"),
        ({"vision": Vision(size=8, resize=8, top_k=2, std=(1.0, 0.0, 1.0))}, "std is not 0"),
        ({"vision": Vision(size=8, resize=8, top_k=2, max_pixels=0)}, "max_pixels are 1 or more"),
        ({"vision": None, "text": Text()}, "input text BYTES"),
    ],
)
def test_a_manifest_whose_section_does_not_fit_is_refused(
    manifest: Manifest, changes: dict[str, Any], words: str
) -> None:
    check_manifest(manifest)
    with pytest.raises(BadPackageError, match=words):
        check_manifest(msgspec.structs.replace(manifest, **changes))
