"""`airserve demo camera`: frames that a model can take, and the command as a user runs it."""

from __future__ import annotations

import io
import json
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from airserve.cli.demo_link import cut_of
from airserve.cli.demo_scene import frames
from airserve.core.errors import InvalidInputError
from airserve.lab.emulation import missing
from tests import commands
from tests.conftest import Service

LACKS = missing()


def spec(datatype: str, *shape: int) -> list[dict[str, object]]:
    return [{"name": "x", "datatype": datatype, "shape": list(shape)}]


@pytest.mark.parametrize("shape", [(-1, 64), (-1, 28, 28), (-1, 1, 32, 24), (-1, 3, 20, 30), (-1, 20, 30, 3)])
def test_a_camera_fills_tensors_of_pictures(shape: tuple[int, ...]) -> None:
    seen = [next_["x"] for next_ in islice(frames(spec("FP32", *shape), None, 20.0), 0, 60, 20)]
    for array in seen:
        assert array.shape == (1, *shape[1:])
        assert array.dtype == np.float32
        assert 0 <= array.min() < array.max() <= 16
    assert not np.array_equal(seen[0], seen[2])


def test_pictures_are_jpeg_of_what_is_in_the_folder(tmp_path: Path) -> None:
    Image.new("RGB", (200, 100), "red").save(tmp_path / "red.png")
    (tmp_path / "notes.txt").write_text("no picture")
    array = next(frames(spec("BYTES", -1, 1), tmp_path, 20.0))["x"]
    assert array.shape == (1, 1)
    picture = Image.open(io.BytesIO(array[0, 0]))
    assert picture.format == "JPEG"
    red, green, blue = picture.convert("RGB").getpixel((10, 10))  # type: ignore[misc]
    assert red > 200 > 50 > max(green, blue)


def test_what_no_camera_can_fill_is_refused(tmp_path: Path) -> None:
    for specs in (spec("FP32", -1, 65), spec("FP32", -1, 4, 20, 30), spec("FP32", -1, 4) * 2):
        with pytest.raises(InvalidInputError):
            next(frames(specs, None, 20.0))
    with pytest.raises(InvalidInputError, match="holds no picture"):
        next(frames(spec("BYTES", -1, 1), tmp_path, 20.0))


@pytest.mark.server
def test_a_camera_over_a_service_ends_with_its_figures(service: Service) -> None:
    where = ("--url", service.url, "--key", service.key)
    done = commands.run("demo", "camera", *where, "--seconds", "1.5", "--deadline", "10", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["frames"] >= 5
    assert told["answered"] + told["dropped"] == told["frames"]
    assert told["answered"] >= 1
    assert (told["resumptions"], told["codec"]) == (0, "raw")
    table = commands.run("demo", "camera", *where, "--seconds", "0.5", "--deadline", "10")
    assert table.returncode == 0, table.stderr
    assert "longest wait ms" in table.stdout


@pytest.mark.server
@pytest.mark.skipif(bool(LACKS), reason="; ".join(LACKS))
def test_a_camera_behind_a_link_that_is_cut_goes_on() -> None:
    command = ("--link", "up=10,down=50,rtt=40", "--cut", "1.5,1", "--seconds", "6", "--deadline", "2", "--json")
    done = commands.run("demo", "camera", *command)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["answered"] >= 10
    assert told["longest_wait_ms"] > 700


@pytest.mark.parametrize("cut", ["soon", "1", "9,3", "-1,2"])
def test_a_cut_that_makes_no_sense_is_refused(cut: str) -> None:
    with pytest.raises(InvalidInputError, match="--cut"):
        cut_of(cut, 10.0)


def test_a_cut_needs_a_link() -> None:
    done = commands.run("demo", "camera", "--cut", "1,2")
    assert done.returncode == 3
    assert "--link" in done.stderr
