"""Pictures to ask about: parts of photographs that packages carry, in colour and in grey, some of them mirrored."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

_NATURAL = {
    "skimage": ("astronaut.png", "camera.png", "chelsea.png", "coffee.png", "coins.png", "motorcycle_left.png",
                "motorcycle_right.png", "rocket.jpg"),
    "sklearn": ("china.jpg", "flower.jpg"),
}  # fmt: skip
_FOLDERS = {"skimage": "data", "sklearn": "datasets/images"}
_LEAST_SIDE, _MOST_PIXELS = 0.5, 320


def photographs() -> list[Path]:
    """Photographs of things and places; textures, microscopy, drawings and scans are left out."""
    return [_folder(module) / _FOLDERS[module] / name for module, names in _NATURAL.items() for name in names]


def crops(seed: int) -> Iterator[tuple[str, bytes]]:
    """Without end: the photograph's name, and a square part of it of at least half its side, as a PNG."""
    rng = np.random.default_rng(seed)
    images = {path.stem: Image.open(path).convert("RGB") for path in photographs()}
    while True:
        for name, image in images.items():
            side = int(min(image.size) * rng.uniform(_LEAST_SIDE, 1))
            left, top = (int(rng.uniform(0, edge - side + 1)) for edge in image.size)
            part = image.crop((left, top, left + side, top + side))
            if side > _MOST_PIXELS:
                part = part.resize((_MOST_PIXELS, _MOST_PIXELS), Image.Resampling.LANCZOS)
            if rng.random() < 0.5:
                part = part.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            file = io.BytesIO()
            part.save(file, "PNG")
            yield name, file.getvalue()


def _folder(module: str) -> Path:
    """Where an installed package lies, without importing it."""
    spec = importlib.util.find_spec(module)
    assert spec is not None and spec.origin is not None, f"{module} is not installed"
    return Path(spec.origin).parent
