"""Packages made ready for slow links: what is added, and what does not go together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from airserve.core.errors import AirserveError
from airserve.engines.options import Sealed, Text
from airserve.models.link_package import SAME, LinkOptions, prepare
from airserve.models.manifest import FILE_NAME
from airserve.models.onnx_import import package_onnx
from airserve.models.onnx_limits import OnnxLimits
from airserve.models.package import open_package, write_package
from airserve.models.text_package import package_text
from tests.models_for_tests import save_linear, save_wide
from tests.step_models import save_bag_of_words, save_tokenizer


@pytest.fixture
def package(tmp_path: Path) -> Path:
    np.save(tmp_path / "rows.npy", np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32))
    save_linear(tmp_path / "small.onnx", 1.9)
    return package_onnx(save_linear(tmp_path / "linear.onnx"), tmp_path / "package", name="linear")


def prepared(package: Path, **options: Any) -> Any:
    target = package.parent / "prepared"
    made = prepare(package, target, LinkOptions(**options), OnnxLimits())
    assert made.folder == target
    return open_package(target).manifest


def test_weights_for_devices_are_a_variant_with_their_own_accuracy(package: Path) -> None:
    manifest = prepared(package, device=str(package.parent / "small.onnx"), data=package.parent / "rows.npy")
    original, device = manifest.variants
    assert (original.file, original.accuracy) == ("model.onnx", None)
    assert manifest.device == device.name == "device"
    assert (device.file, device.metric, device.accuracy) == ("device.onnx", "1 - relative error", 0.95)
    assert (package.parent / "prepared" / "device.onnx").read_bytes() == (package.parent / "small.onnx").read_bytes()


def test_without_a_sample_they_are_tried_and_not_measured(package: Path) -> None:
    manifest = prepared(package, device=str(package.parent / "small.onnx"))
    assert manifest.variants[1].accuracy is None


def test_a_device_may_have_the_served_weights(package: Path) -> None:
    manifest = prepared(package, device=SAME, deterministic=True)
    assert manifest.device == manifest.variants[0].name
    assert (len(manifest.variants), manifest.deterministic) == (1, True)


def test_a_floor_leaves_out_what_is_below_it(package: Path) -> None:
    sample = package.parent / "rows.npy"
    made = prepare(package, package.parent / "a", LinkOptions(["fp16", "int2"], sample, floor=0.99), OnnxLimits())
    assert {each.codec for each in made.measured} == {"fp16", "int2"}
    assert {each.codec for each in open_package(made.folder).manifest.codecs} == {"fp16"}
    every = prepare(package, package.parent / "b", LinkOptions(["fp16", "int2"], sample, floor=0.0), OnnxLimits())
    assert open_package(every.folder).manifest.codecs == every.measured


def test_an_embedding_model_s_device_is_measured_on_texts_with_the_package_s_tokenizer(tmp_path: Path) -> None:
    words, tokenizer = save_bag_of_words(tmp_path / "words.onnx"), save_tokenizer(tmp_path / "tokenizer.json")
    folder = package_text(words, tokenizer, tmp_path / "package", name="words", text=Text(max_tokens=9))
    (tmp_path / "lines.txt").write_text("pay the bill\nthe cat\nthe mat\n")
    manifest = prepared(folder, codecs=["int8c+zstd"], data=tmp_path / "lines.txt", device=str(words))
    assert [(each.tensor, each.codec, each.metric) for each in manifest.codecs] == [
        ("embedding", "int8c+zstd", "cosine")
    ]
    assert manifest.codecs[0].accuracy > 0.999
    assert manifest.variants[1].accuracy == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"codecs": []}, "give it with --data"),
        ({"data": "rows.npy"}, "give one of them"),
        ({"codecs": ["int9"], "data": "rows.npy"}, "'int9' is none of"),
        ({"codecs": ["webp:60"], "data": "rows.npy"}, "is for no input and no output"),
        ({"codecs": [], "data": "gone.npy"}, "does not exist"),
        ({"codecs": [], "data": "rows.npy", "floor": 1.5}, "between 0 and 1"),
        ({"device": "gone.onnx"}, "does not exist"),
        ({"device": "rows.npy"}, ""),
        ({"device": "wide.onnx", "data": "rows.npy"}, "cannot take the place of the model"),
    ],
)
def test_options_that_do_not_fit_are_refused_and_leave_nothing(
    package: Path, options: dict[str, Any], sentence: str
) -> None:
    save_wide(package.parent / "wide.onnx", 8)
    for field in {"data", "device"} & options.keys():
        options = {**options, field: package.parent / options[field]}
    with pytest.raises(AirserveError) as refusal:
        prepared(package, **{**options, **({"device": str(options["device"])} if "device" in options else {})})
    assert sentence in refusal.value.message
    assert refusal.value.http_status in (400, 404)
    assert not (package.parent / "prepared").exists()


def test_a_sealed_model_gives_nothing_out(package: Path) -> None:
    opened = open_package(package)
    manifest = msgspec.structs.replace(opened.manifest, sealed=Sealed())
    files: dict[str, bytes | Path] = {file: package / file for file in opened.files if file != FILE_NAME}
    sealed = write_package(package.parent / "sealed", manifest, files)
    for options in ({"device": SAME}, {"codecs": ["fp16"], "data": package.parent / "rows.npy"}):
        with pytest.raises(AirserveError, match="a sealed model takes no codecs and gives out no weights"):
            prepared(sealed, **options)
