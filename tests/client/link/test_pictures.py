"""A photograph that goes to the service smaller than it was taken, and means the same there."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from airserve import Client
from airserve.engines.options import Vision
from airserve.models.vision_package import package_vision
from tests.conftest import Service, airserve, start_service
from tests.step_models import save_mean_colour

LABELS = ("red", "green", "blue")
CODECS = ("webp:80", "jpeg:80")


def photograph(seed: int, size: int = 400) -> bytes:
    """A PNG of mostly one colour, with noise that PNG cannot pack."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 90, (size, size, 3), dtype=np.uint8)
    pixels[..., seed % 3] += 120
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("colours")
    graph = save_mean_colour(folder / "colours.onnx")
    package_vision(graph, folder / "package", name="colours", labels=LABELS, vision=Vision(size=8, resize=10, top_k=2))
    (folder / "sample").mkdir()
    for number in range(16):
        (folder / "sample" / f"{number:02}.png").write_bytes(photograph(number))
    airserve(
        "publish", str(folder / "package"), "--state-dir", str(folder / "state"), "--json",
        "--codecs", ",".join(CODECS), "--data", str(folder / "sample"),
    )  # fmt: skip
    running = start_service(folder / "state", "--no-demo")
    yield running
    assert running.stop() == 0


def test_a_picture_travels_recoded_and_is_taken_for_the_same(colours: Service, tmp_path: Path) -> None:
    picture = np.empty(1, object)
    with Client(colours.url, colours.key, cache=tmp_path, adapt=True, seed=2) as client:
        for number in range(3):
            picture[0] = photograph(number)
            raw = client.infer("colours", {"image": picture}, codec="raw", explain=True)
            (whole,) = raw.explanation
            for codec in CODECS:
                coded = client.infer("colours", {"image": picture}, codec=codec, explain=True)
                assert coded["label"][0, 0] == raw["label"][0, 0] == LABELS[number].encode()
                assert coded.codec == codec
                (small,) = coded.explanation
                assert small.up_bytes < len(picture[0]) / 50 < whole.up_bytes
        assert client.classify("colours", photograph(1), k=1)[0][0] == "green"
        picture[0] = photograph(7)
        assert client.infer("colours", {"image": picture}, prefer="bytes").codec in CODECS
