"""What is looked at in a call, for each kind of model."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from airserve.core.call import Array, Tensors
from airserve.engines.options import Text, Vision
from airserve.models.manifest import Manifest, Tensor, Variant
from airserve.models.observed import MOST_ROWS_OF_A_CALL, Embedding, Observer, embedding_output
from tests.models.baselines import manifest_of_columns

VARIANT = (Variant("original", "model.onnx", 1),)


def model(inputs: list[Tensor], outputs: list[Tensor], max_batch: int = 8, **more: object) -> Manifest:
    return Manifest(
        name="m", engine="onnx", inputs=tuple(inputs), outputs=tuple(outputs), variants=VARIANT, max_batch=max_batch,
        **more,  # type: ignore[arg-type]
    )  # fmt: skip


def observe(
    manifest: Manifest, inputs: Tensors, outputs: Tensors, embedding: Embedding | None = None
) -> dict[str, list[float]]:
    observer = Observer(manifest, embedding)
    values = observer.of(inputs, outputs)
    return {name: values[:, at].tolist() for at, name in enumerate(observer.names)}


def objects(*elements: bytes) -> Array:
    array = np.empty(len(elements), dtype=object)
    array[:] = elements
    return array


def picture(colour: tuple[int, int, int], size: tuple[int, int], kind: str = "PNG") -> bytes:
    encoded = io.BytesIO()
    Image.new("RGB", size, colour).save(encoded, kind)
    return encoded.getvalue()


def test_columns_are_looked_at_one_by_one_and_missing_ones_stay_missing() -> None:
    x = np.array([[1, 2], [np.nan, 4]], np.float32)
    found = observe(manifest_of_columns(2), {"x": x}, {"y": np.array([[7], [8]], np.float32)})
    assert list(found) == ["c0", "c1", "y"]
    assert found["c0"][0] == 1 and np.isnan(found["c0"][1])
    assert (found["c1"], found["y"]) == ([2, 4], [7, 8])


def test_a_classifier_s_class_and_its_probability_are_looked_at() -> None:
    manifest = model([Tensor("x", "FP32", (-1, 1))], [Tensor("p", "FP32", (-1, 3)), Tensor("label", "BYTES", (-1,))],
                     labels=("a", "b", "c"))  # fmt: skip
    p = np.array([[0.1, 0.7, 0.2], [0.8, 0.1, 0.1]])
    found = observe(manifest, {"x": np.zeros((2, 1))}, {"p": p, "label": objects(b"b", b"a")})
    assert (found["class"], found["probability"]) == ([1, 0], [0.7, 0.8])


def test_inputs_too_large_to_look_at_each_number_are_told_by_their_figures() -> None:
    x = np.arange(2 * 1200, dtype=np.float32).reshape(2, 3, 400)
    manifest = model([Tensor("x", "FP32", (-1, 3, 400))], [Tensor("y", "FP32", (-1, 3, 400))])
    found = observe(manifest, {"x": x}, {"y": x})
    assert found["x.mean"] == pytest.approx([x[0].mean(), x[1].mean()])
    assert found["x.deviation"] == pytest.approx([x[0].std(), x[1].std()])
    assert (found["x.smallest"], found["y.largest"]) == ([0, 1200], [1199, 2399])


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_pictures_are_told_by_size_brightness_and_contrast(kind: str) -> None:
    manifest = model(
        [Tensor("image", "BYTES", (-1,))],
        [Tensor("label", "BYTES", (-1, 2)), Tensor("probability", "FP32", (-1, 2)), Tensor("index", "INT32", (-1, 2))],
        vision=Vision(size=8, resize=8, max_pixels=100_000),
    )
    pictures = objects(picture((255, 255, 255), (200, 100), kind), picture((0, 0, 0), (64, 64), kind),
                       picture((9, 9, 9), (400, 400), kind), b"no picture")  # fmt: skip
    outputs: Tensors = {
        "label": np.full((4, 2), b"x", dtype=object),
        "probability": np.array([[0.9, 0.1]] * 4, np.float32),
        "index": np.array([[3, 1]] * 4, np.int32),
    }
    found = observe(manifest, {"image": pictures}, outputs)
    assert found["picture.width"][:2] == [200, 64] and found["picture.height"][:2] == [100, 64]
    assert found["picture.brightness"][:2] == pytest.approx([1, 0], abs=0.01)
    assert found["picture.contrast"][:2] == pytest.approx([0, 0], abs=0.01)
    # The one is larger than the model takes, the other is none.
    assert np.isnan([values[2:] for name, values in found.items() if name.startswith("picture")]).all()
    assert found["class"] == [3] * 4 and found["probability"] == pytest.approx([0.9] * 4)


def test_texts_are_told_by_their_length_and_where_their_embedding_lies() -> None:
    outputs = [Tensor("embedding", "FP32", (-1, 20)), Tensor("tokens", "INT32", (-1,))]
    manifest = model([Tensor("text", "BYTES", (-1,))], outputs, text=Text())
    assert embedding_output(manifest) == "embedding"
    vectors = np.zeros((2, 20))
    vectors[1, :2] = 3, 4
    embedding = Embedding(output="embedding", center=(0.0,) * 20, components=((1.0, *[0.0] * 19),), spread=4.0)
    found = observe(
        manifest, {"text": objects("grün".encode(), b"")}, {"embedding": vectors, "tokens": np.array([3, 2])}, embedding
    )
    assert found["text.characters"] == [4, 0] and found["tokens"] == [3, 2]
    assert found["embedding.1"] == [0, 3] and found["embedding.distance"] == [0, 2.5]


def test_a_model_that_does_not_batch_has_one_row_a_call() -> None:
    manifest = model([Tensor("x", "INT64", (2, 2))], [Tensor("y", "FP32", ())], max_batch=0)
    found = observe(manifest, {"x": np.array([[1, 2], [3, 4]])}, {"y": np.float32(5) + np.zeros(())})
    assert found == {"x[0]": [1], "x[1]": [2], "x[2]": [3], "x[3]": [4], "y": [5]}


def test_of_a_large_call_some_rows_are_looked_at_from_beginning_to_end() -> None:
    x = np.arange(1000, dtype=np.float32)[:, None]
    found = observe(manifest_of_columns(1), {"x": x}, {"y": x})
    assert len(found["c0"]) == MOST_ROWS_OF_A_CALL
    assert found["c0"] == found["y"] and (found["c0"][0], found["c0"][-1]) == (0, 999)


def test_names_are_told_apart() -> None:
    manifest = model([Tensor("x", "FP32", (-1, 2))], [Tensor("p", "FP32", (-1, 2))], labels=("a", "b"),
                     columns=("class", "class"))  # fmt: skip
    assert Observer(manifest, None).names == ("class", "class (2)", "class (3)", "probability")
