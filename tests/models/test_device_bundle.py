from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image

from airserve.core.errors import BadPackageError, NotFoundError
from airserve.engines.bundle import load_bundle, read_bundle
from airserve.engines.options import Sealed, Text, Vision
from airserve.models.catalog import Catalog, DeploymentSpec
from airserve.models.device_bundle import make_bundle
from airserve.models.manifest import Manifest, SplitOf, Tensor, Variant
from airserve.models.package import open_package, write_package
from airserve.models.policy import StorePolicy
from airserve.models.store_key import LocalKey
from airserve.models.text_package import package_text
from airserve.models.vision_package import package_vision
from airserve.storage import Database
from tests.models_for_tests import save_linear
from tests.step_models import save_bag_of_words, save_mean_colour, save_tokenizer

VISION = Vision(size=8, resize=10, top_k=2)


def spec_of(folder: Path, **changes: Any) -> DeploymentSpec:
    package = open_package(folder)
    manifest = msgspec.structs.replace(package.manifest, **changes)
    return DeploymentSpec(manifest.name, 3, package.address, folder, manifest, ("prod",))


def picture(colour: tuple[int, int, int]) -> Any:
    encoded = io.BytesIO()
    Image.new("RGB", (20, 12), colour).save(encoded, "PNG")
    images = np.empty(1, dtype=object)
    images[0] = encoded.getvalue()
    return images


def test_a_device_gets_all_of_a_classifier_and_answers_as_the_service_does(tmp_path: Path) -> None:
    labels = ("red", "green", "blue")
    graph = save_mean_colour(tmp_path / "colours.onnx")
    folder = package_vision(graph, tmp_path / "package", name="colours", labels=labels, vision=VISION)
    (variant,) = open_package(folder).manifest.variants
    spec = spec_of(folder, device=variant.name)
    bundle = make_bundle(spec)
    head = read_bundle(bundle).head
    assert (head.model, head.version, head.address, head.kind) == ("colours", 3, spec.address, "model")
    assert (head.variant, head.labels, head.vision) == (variant.name, labels, VISION)
    model = load_bundle(bundle, threads=1)
    assert model.run({"image": picture((0, 250, 20))})["label"][0].tolist() == [b"green", b"blue"]
    model.close()


def test_a_device_gets_the_tokenizer_of_a_text_model(tmp_path: Path) -> None:
    words, tokenizer = save_bag_of_words(tmp_path / "words.onnx"), save_tokenizer(tmp_path / "tokenizer.json")
    folder = package_text(words, tokenizer, tmp_path / "package", name="words", text=Text(max_tokens=16))
    (variant,) = open_package(folder).manifest.variants
    model = load_bundle(make_bundle(spec_of(folder, device=variant.name)), threads=1)
    assert model.run({"text": np.array([b"the cat"], dtype=object)})["tokens"].tolist() == [4]
    model.close()


def tail_of(folder: Path, graph: Path, tensor: Tensor, vision: Vision | None) -> DeploymentSpec:
    """A version whose package holds `graph` as the head of a split; its own weights are of no matter here."""
    outputs: tuple[Tensor, ...] = (Tensor("z", "FP32", (-1, 1)),)
    if vision is not None:
        outputs = (
            Tensor("label", "BYTES", (-1, 2)), Tensor("probability", "FP32", (-1, 2)), Tensor("index", "INT32", (-1, 2))
        )  # fmt: skip
    manifest = Manifest(
        name="whole.tail-1",
        engine="onnx",
        inputs=(tensor,),
        outputs=outputs,
        variants=(Variant("tail", "tail.onnx", 1),),
        max_batch=4,
        vision=vision,
        split=SplitOf("whole", "0" * 64, "head.onnx", tensor.name, 0.5),
    )
    return spec_of(write_package(folder / "package", manifest, {"head.onnx": graph, "tail.onnx": b"t"}))


def test_of_a_split_a_device_gets_the_head_which_gives_features(tmp_path: Path) -> None:
    spec = tail_of(tmp_path, save_linear(tmp_path / "h.onnx", 3), Tensor("y", "FP32", (-1, 4)), None)
    bundle = make_bundle(spec)
    head = read_bundle(bundle).head
    assert (head.kind, [each.name for each in head.inputs], head.max_batch) == ("head", ["x"], 4)
    assert list(read_bundle(bundle).contents) == ["head.onnx"]
    model = load_bundle(bundle, threads=1)
    np.testing.assert_array_equal(model.run({"x": np.ones((2, 4), np.float32)})["y"], np.full((2, 4), 3))
    model.close()


def test_the_head_of_a_classifier_takes_pictures(tmp_path: Path) -> None:
    graph = save_mean_colour(tmp_path / "h.onnx")
    model = load_bundle(make_bundle(tail_of(tmp_path, graph, Tensor("scores", "FP32", (-1, 3)), VISION)), threads=1)
    assert [(each.name, each.datatype) for each in model.signature.inputs] == [("image", "BYTES")]
    features = model.run({"image": picture((250, 0, 0))})["scores"]
    assert features.shape == (1, 3)
    assert features[0, 0] > 0.9 > 0.1 > features[0, 1]
    assert model.run(model.example(2))["scores"].shape == (2, 3)
    model.close()


def test_a_head_that_gives_other_features_than_its_tail_takes_is_refused(tmp_path: Path) -> None:
    graph = save_linear(tmp_path / "h.onnx")
    bundle = make_bundle(tail_of(tmp_path, graph, Tensor("other", "FP32", (-1, 4)), None))
    with pytest.raises(BadPackageError, match="gives no other; it gives y"):
        load_bundle(bundle, threads=1)


def test_weights_are_for_devices_only_where_the_operator_said_so(tmp_path: Path) -> None:
    graph = save_mean_colour(tmp_path / "colours.onnx")
    folder = package_vision(graph, tmp_path / "package", name="colours", labels=(), vision=VISION)
    (variant,) = open_package(folder).manifest.variants
    refused: list[tuple[dict[str, Any], str]] = [
        ({}, "publishes it with --device"),
        ({"device": variant.name, "sealed": Sealed()}, "is sealed"),
        ({"device": variant.name, "engine": "python"}, "engine python"),
        ({"device": variant.name, "engine": "llama"}, "engine llama"),
    ]
    for changes, words in refused:
        with pytest.raises(NotFoundError, match=words):
            make_bundle(spec_of(folder, **changes))


def test_a_bundle_is_made_of_a_store_that_is_encrypted_and_of_no_damaged_one(tmp_path: Path) -> None:
    database = Database.open(tmp_path / "state")
    graph = save_linear(tmp_path / "linear.onnx")
    catalog = Catalog(database, tmp_path / "store", StorePolicy(key=LocalKey(b"k" * 32)))
    catalog.publish(graph)
    (published,) = catalog.deployments()
    database.close()
    spec = DeploymentSpec(
        published.model, published.version, published.address, published.folder,
        msgspec.structs.replace(published.manifest, device="original"), published.aliases, published.files,
    )  # fmt: skip
    assert read_bundle(make_bundle(spec)).contents["model.onnx"] == graph.read_bytes()
    sealed = published.folder / "model.onnx.sealed"
    changed = bytearray(sealed.read_bytes())
    changed[-1] ^= 1
    sealed.chmod(0o644)
    sealed.write_bytes(changed)
    with pytest.raises(BadPackageError):
        make_bundle(spec)
