"""`airserve split --publish`, then the head here, its features over REST, and the tail's answer."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from airserve.codecs.frame import encode
from airserve.core.call import Array
from airserve.engines.bundle import load_bundle
from airserve.engines.options import Vision
from airserve.models.catalog import Catalog, DeploymentSpec
from airserve.models.device_bundle import make_bundle
from airserve.models.vision_package import package_vision
from airserve.storage import Database
from tests.conftest import Service, airserve, start_service
from tests.large_models import photographs
from tests.models.splitting.networks import CLASSES, save, small_cnn

COLOURS = ("#c02010", "#20b030", "#1030d0", "#d06020", "#30a080", "#4020a0")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, dict[str, Any], Path]]:
    folder = tmp_path_factory.mktemp("split")
    vision = Vision(size=32, resize=32, mean=(127.0,) * 3, std=(64.0,) * 3, top_k=2)
    path = save(small_cnn(), folder / "model.onnx")
    package = package_vision(path, folder / "package", name="colours", labels=CLASSES, vision=vision)
    data = folder / "data"
    data.mkdir()
    noise = np.random.default_rng(3).integers(-40, 40, (len(COLOURS), 48, 40, 3))
    for index, colour in enumerate(COLOURS):
        plain = np.asarray(Image.new("RGB", (40, 48), colour), np.int64)
        Image.fromarray((plain + noise[index]).clip(0, 255).astype(np.uint8)).save(data / f"{index}.png")
    yield from _split(folder, package, "colours", data, "--rate", "0.02", "--max-accuracy-drop", "1%")


@pytest.fixture(scope="module")
def large(
    tmp_path_factory: pytest.TempPathFactory, efficientnet_package: Path
) -> Iterator[tuple[Service, dict[str, Any], Path]]:
    folder = tmp_path_factory.mktemp("split-large")
    data = folder / "data"
    data.mkdir()
    for name in ("cat", "coffee", "flower"):
        with Image.open(photographs()[name]) as image:
            image.convert("RGB").save(data / f"{name}.jpg", quality=95)
    # Where bytes are dear enough a split pays; on a fast link it does not, and nothing would be published.
    yield from _split(folder, efficientnet_package, "efficientnet-lite0", data, "--rate", "0.1")


def _split(
    folder: Path, package: Path, name: str, data: Path, *options: str
) -> Iterator[tuple[Service, dict[str, Any], Path]]:
    state = folder / "state"
    airserve("publish", str(package), "--state-dir", str(state), "--json")
    arguments = ("split", name, "--data", str(data), *options, "--state-dir", str(state), "--json")
    report = airserve(*arguments, "--publish")
    service = start_service(state)
    yield service, report, data
    assert service.stop() == 0


def _tail(service: Service, name: str) -> DeploymentSpec:
    database = Database.open(service.state_dir)
    try:
        found = Catalog(database, service.state_dir / "store").deployments()
        return next(each for each in found if each.model == name)
    finally:
        database.close()


def _infer(service: Service, model: str, name: str, rows: Array, codec: str) -> dict[str, Any]:
    frame = encode(rows, codec)
    document = {
        "inputs": [{
            "name": name, "datatype": "FP32", "shape": list(rows.shape),
            "parameters": {"binary_data_size": len(frame), "codec": codec},
        }]
    }  # fmt: skip
    head = json.dumps(document).encode()
    return _post(service, model, head + frame, {"Inference-Header-Content-Length": str(len(head))})


def _classified(service: Service, model: str, image: bytes) -> dict[str, Any]:
    document = {"inputs": [{
        "name": "image", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": len(image) + 4},
    }]}  # fmt: skip
    head = json.dumps(document).encode()
    body = head + len(image).to_bytes(4, "little") + image
    return _post(service, model, body, {"Inference-Header-Content-Length": str(len(head))})


def _post(service: Service, model: str, body: bytes, headers: dict[str, str]) -> dict[str, Any]:
    request = urllib.request.Request(
        f"{service.ready['http_url']}/v2/models/{model}/infer", body, {**service.headers, **headers}
    )
    with urllib.request.urlopen(request, timeout=30) as reply:
        outputs = json.load(reply)["outputs"]
    return {each["name"]: each["data"] for each in outputs}


def _check(service: Service, report: dict[str, Any], data: Path) -> None:
    assert report["published"], report["conclusion"]
    for published in report["published"]:
        tail = _tail(service, published["model"])
        split = tail.manifest.split
        assert split is not None and tail.model == f"{report['model']}.tail-{published['model'].rpartition('-')[2]}"
        assert split.model == report["model"] and tail.manifest.codecs
        head = load_bundle(make_bundle(tail), threads=1)
        for entry in tail.manifest.codecs:
            same = 0
            pictures = [file.read_bytes() for file in sorted(data.iterdir())]
            for picture in pictures:
                image = np.empty(1, dtype=object)
                image[0] = picture
                features = head.run({"image": image})[split.tensor]
                got = _infer(service, tail.model, split.tensor, features, entry.codec)
                whole = _classified(service, report["model"], picture)
                same += got["index"][0] == whole["index"][0]
                assert len(got["label"]) == len(got["probability"]) == len(whole["label"])
            assert entry.accuracy is not None and same / len(pictures) >= entry.accuracy - 1e-6
        head.close()


@pytest.mark.server
def test_a_published_tail_answers_as_the_whole_does(small: tuple[Service, dict[str, Any], Path]) -> None:
    _check(*small)


@pytest.mark.server
@pytest.mark.models
def test_the_tail_of_a_real_model_answers_as_the_whole_does(large: tuple[Service, dict[str, Any], Path]) -> None:
    _check(*large)


@pytest.mark.server
def test_the_same_cut_again_is_the_same_version(small: tuple[Service, dict[str, Any], Path]) -> None:
    service, report, data = small
    options = ("--rate", "100000", "--rtt-ms", "1")
    dry = service.run("split", report["model"], "--data", str(data), *options, "--dry-run")
    assert dry["published"] == []
    # A link without a price for bytes: nothing is worth a cut, and the command says so.
    nothing = service.run("split", report["model"], "--data", str(data), *options, "--publish")
    assert nothing["published"] == [] and nothing["conclusion"].startswith("No split beats")
