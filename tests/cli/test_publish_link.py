"""`airserve publish` for slow links: codecs with their accuracy, weights for devices, and what does not go together."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.conftest import AIRSERVE, airserve
from tests.models_for_tests import save_linear
from tests.step_models import save_mean_colour


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_linear(tmp_path / "linear.onnx")
    save_linear(tmp_path / "small.onnx", 1.9)
    np.save(tmp_path / "rows.npy", np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32))
    return tmp_path


def publish(folder: Path, *arguments: str, as_json: bool = True) -> subprocess.CompletedProcess[str]:
    command = [AIRSERVE, "publish", *arguments, "--state-dir", str(folder / "state"), *(["--json"] if as_json else [])]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def manifest_of(folder: Path, model: str) -> dict[str, Any]:
    (version,) = airserve("models", "show", model, "--state-dir", str(folder / "state"), "--json")["versions"]
    manifest: dict[str, Any] = version["manifest"]
    return manifest


def test_codecs_at_or_above_the_floor_are_listed_and_all_are_printed(folder: Path) -> None:
    done = publish(
        folder, "linear.onnx", "--codecs", "fp16,int8c+zstd,int2", "--data", "rows.npy", "--min-accuracy", "0.99",
        "--deterministic", "--device", "small.onnx", as_json=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "int2" in done.stdout
    manifest = manifest_of(folder, "linear")
    assert (manifest["deterministic"], manifest["device"]) == (True, "device")
    assert {(each["tensor"], each["codec"]) for each in manifest["codecs"]} == {
        (tensor, codec) for tensor in ("x", "y") for codec in ("fp16", "int8c+zstd")
    }
    for each in manifest["codecs"]:
        assert 0.99 <= each["accuracy"] <= 1.0
        assert 0 < each["bytes"] < 100


def test_a_published_package_says_nothing_of_devices_unless_it_is_told_to(folder: Path) -> None:
    assert publish(folder, "linear.onnx").returncode == 0
    assert not {"device", "codecs", "deterministic"} & manifest_of(folder, "linear").keys()


def test_a_classifier_of_pictures_is_measured_on_a_folder_of_them(folder: Path) -> None:
    save_mean_colour(folder / "colours.onnx")
    (folder / "vision.toml").write_text("[vision]\nsize = 8\nresize = 10\nmean = [127, 127, 127]\n")
    (folder / "pictures").mkdir()
    for name in ("red", "green", "blue"):
        Image.new("RGB", (64, 48), name).save(folder / "pictures" / f"{name}.png")
    done = publish(
        folder, "colours.onnx", "--vision", "vision.toml", "--codecs", "webp:60,jpeg:85,fp16", "--data", "pictures"
    )
    assert done.returncode == 0, done.stderr
    found = {(each["tensor"], each["codec"]): each for each in manifest_of(folder, "colours")["codecs"]}
    assert set(found) == {("image", "webp:60"), ("image", "jpeg:85"), ("probability", "fp16")}
    assert found["image", "webp:60"]["accuracy"] == 1.0
    assert found["image", "webp:60"]["metric"] == "top-1 agreement"


def test_what_does_not_go_together_is_refused_and_nothing_is_published(folder: Path) -> None:
    done = publish(folder, "linear.onnx", "--codecs", "auto")
    assert done.returncode == 3 and "give it with --data" in done.stderr
    assert airserve("models", "list", "--state-dir", str(folder / "state"), "--json") == []
