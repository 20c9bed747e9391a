from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from airserve.core.call import Array
from airserve.core.errors import BadPackageError, InvalidInputError
from airserve.core.tensor import Signature
from airserve.engines import Model, Source, load_model
from airserve.engines.options import Vision
from airserve.models.steps import vision_signature
from tests.codecs.test_picture_pixels import encode
from tests.step_models import save_mean_colour

LABELS = ("red", "green", "blue")


def model(folder: Path, labels: tuple[str, ...] = LABELS, *, channels_last: bool = False, **options: object) -> Model:
    path = save_mean_colour(folder / "model.onnx", channels_last=channels_last)
    vision = Vision(**{"size": 8, "resize": 8, "layout": "NHWC" if channels_last else "NCHW", **options})  # type: ignore[arg-type]
    signature = Signature(*vision_signature(min(vision.top_k, 3)), 8)
    return load_model("onnx", Source(folder, path.name, signature, labels, vision=vision), threads=1)


def pictures(*colours: str) -> Array:
    array = np.empty(len(colours), dtype=object)
    array[:] = [encode(Image.new("RGB", (12, 9), colour), "PNG") for colour in colours]
    return array


@pytest.mark.parametrize("channels_last", [False, True])
def test_labels_come_best_first_with_their_probabilities(tmp_path: Path, channels_last: bool) -> None:
    outputs = model(tmp_path, channels_last=channels_last).run({"image": pictures("#ff8000", "#0080ff")})
    assert outputs["label"].tolist() == [[b"red", b"green", b"blue"], [b"blue", b"green", b"red"]]
    assert outputs["index"].tolist() == [[0, 1, 2], [2, 1, 0]] and outputs["index"].dtype == np.int32
    powers = np.exp(np.array([1, 128 / 255, 0]))
    np.testing.assert_allclose(outputs["probability"][0], powers / powers.sum(), rtol=1e-5)
    assert outputs["probability"].dtype == np.float32


def test_scores_that_are_probabilities_already_stay_as_they_are(tmp_path: Path) -> None:
    outputs = model(tmp_path, logits=False).run({"image": pictures("#ff8000")})
    np.testing.assert_allclose(outputs["probability"], [[1, 128 / 255, 0]], rtol=1e-5)


def test_pixels_are_normalised_as_the_manifest_says(tmp_path: Path) -> None:
    ready = model(tmp_path, logits=False, mean=(255.0, 0.0, 0.0), std=(1.0, 2.0, 4.0))
    outputs = ready.run({"image": pictures("#ff8000")})
    assert outputs["index"].tolist() == [[1, 0, 2]] and outputs["probability"].tolist() == [[64, 0, 0]]


def test_no_more_labels_come_than_top_k_and_the_model_have(tmp_path: Path) -> None:
    assert model(tmp_path, top_k=1).run({"image": pictures("lime")})["label"].tolist() == [[b"green"]]
    assert model(tmp_path, top_k=99).run({"image": pictures("lime")})["label"].shape == (1, 3)


def test_without_labels_a_class_is_its_number(tmp_path: Path) -> None:
    assert model(tmp_path, ()).run({"image": pictures("lime")})["label"][0, 0] == b"1"


def test_labels_of_another_model_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadPackageError, match="3 classes apart, but the package has 2 labels"):
        model(tmp_path, ("cat", "dog"))


def test_the_row_that_is_no_picture_is_named(tmp_path: Path) -> None:
    images = pictures("red", "red", "red")
    images[1] = b"a text"
    with pytest.raises(InvalidInputError, match="row 1 of input 'image': the data is no JPEG"):
        model(tmp_path).run({"image": images})


def test_the_example_is_a_real_picture(tmp_path: Path) -> None:
    ready = model(tmp_path, resize=300)
    example = ready.example(3)
    assert example["image"].shape == (3,) and example["image"][0].startswith(b"\xff\xd8\xff")
    assert ready.run(example)["label"].shape == (3, 3)
    ready.close()
