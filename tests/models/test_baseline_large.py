"""Baselines of real models of pictures and of texts: their like raises nothing, another kind does."""

from __future__ import annotations

import importlib.util
import io
import re
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from airserve.core.call import Tensors
from airserve.engines import load_model
from airserve.models.baseline import baseline_of
from airserve.models.baseline_package import answered
from airserve.models.catalog import DeploymentSpec
from airserve.models.observed import Observer
from airserve.models.package import open_package
from airserve.serving.drift.window import DriftReport, DriftWindow
from tests.large_models import photographs

pytestmark = pytest.mark.models


def drift(folder: Path, name: str, before: Sequence[bytes], *live: Sequence[bytes]) -> list[DriftReport]:
    """How each of `live` compares with the baseline of `before`, for the model in `folder` and its input `name`."""
    manifest = open_package(folder).manifest
    with closing(load_model("onnx", DeploymentSpec("m", 1, "", folder, manifest, ()).source, threads=2)) as model:
        baseline = baseline_of(manifest, answered(model, manifest, calls(name, before)))
        observer, reports = Observer(manifest, baseline.embedding), []
        for elements in live:
            window = DriftWindow(baseline)
            for element in calls(name, elements):
                outputs = model.run(element)
                vectors = None if baseline.embedding is None else outputs[baseline.embedding.output]
                window.add(observer.of(element, outputs), 0, vectors)
            reports.append(window.report(0))
    return reports


def calls(name: str, elements: Sequence[bytes]) -> list[Tensors]:
    found = []
    for element in elements:
        array = np.empty(1, dtype=object)
        array[0] = element
        found.append({name: array})
    return found


def sentences() -> list[bytes]:
    """Of scikit-learn's descriptions of its data sets, in an order that means nothing."""
    spec = importlib.util.find_spec("sklearn")
    assert spec is not None and spec.origin is not None
    files = sorted((Path(spec.origin).parent / "datasets/descr").glob("*.rst"))
    parts = [part for file in files for part in re.split(r"(?<=[.?!])\s+|\n\s*\n", file.read_text())]
    found = sorted({" ".join(part.split()) for part in parts if 40 <= len(part) <= 200 and "--" not in part})
    return [found[at].encode() for at in np.random.default_rng(0).permutation(len(found))]


def test_texts_of_another_kind_are_noticed_by_their_embedding(minilm_package: Path) -> None:
    texts = sentences()
    half = len(texts) // 2
    # As long as the others, and about something else.
    people = ("My invoice", "The bill for the phone", "Your parcel", "A refund for the ticket")
    wants = ("has not come", "was charged twice", "is wrong again", "must be sent to my new address")
    tails = ("so please call me back today", "and I want my money now", "as I told your colleague last week",
             "or I will cancel the contract at once")  # fmt: skip
    complaints = [f"{who} {what}, {tail}.".encode() for who in people for what in wants for tail in tails] * 2
    same, other = drift(minilm_package, "text", texts[:half], texts[half:], complaints)
    assert same.drifted == () and same.rows > 100
    assert any(name.startswith("embedding.") for name in other.drifted)
    assert same.centroid is not None and other.centroid is not None
    assert same.centroid < 0.15 < 0.3 < other.centroid


def test_dark_pictures_are_noticed(efficientnet_package: Path) -> None:
    random = np.random.default_rng(0)
    images = [Image.open(path).convert("RGB") for path in photographs().values()]
    cuts = []
    for _ in range(360):
        image = images[random.integers(len(images))]
        side = int(min(image.size) * random.uniform(0.4, 1))
        left, top = (int(random.integers(0, length - side + 1)) for length in image.size)
        cuts.append(image.crop((left, top, left + side, top + side)).resize((224, 224)))
    encoded = [jpeg(cut) for cut in cuts]
    dark = [jpeg(ImageEnhance.Brightness(cut).enhance(0.25)) for cut in cuts[240:]]
    same, other = drift(efficientnet_package, "image", encoded[:240], encoded[240:], dark)
    assert same.drifted == () and same.rows == 120
    assert "picture.brightness" in other.drifted


def jpeg(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85)
    return file.getvalue()
