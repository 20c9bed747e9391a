"""What variants are measured on: real pictures and real sentences that packages carry."""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from airserve.engines import Model
from benchmarks.link.workloads.pictures import crops

PICTURES, SENTENCES = 600, 900
SURE = 0.5
_SEED = 11
_PROSE = ("sklearn", "scipy", "skimage", "matplotlib")
_SENTENCE = re.compile(r"[A-Z][\w ,.'()-]+[.?!]")


def write_pictures(folder: Path, model: Model, least: float, count: int) -> int:
    """Square parts of photographs of which the best class has at least the probability `least`, as PNGs.

    How many were looked at for that is the answer.
    """
    folder.mkdir(parents=True)
    looked = 0

    def good() -> Iterator[tuple[str, bytes]]:
        nonlocal looked
        for name, picture in crops(_SEED):
            looked += 1
            image = np.empty(1, object)
            image[0] = picture
            if model.run({"image": image})["probability"][0, 0] >= least:
                yield name, picture

    for at, (name, picture) in enumerate(islice(good(), count)):
        (folder / f"{at:04}-{name}.png").write_bytes(picture)
    return looked


def write_sentences(file: Path, count: int) -> None:
    """Sentences of 40 to 200 letters from the documentation inside of packages, spread over it, one a line."""
    found = list(dict.fromkeys(_sentences()))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(found[at * len(found) // count] for at in range(count)) + "\n")


def _sentences() -> Iterator[str]:
    for package in _PROSE:
        spec = importlib.util.find_spec(package)
        assert spec is not None and spec.origin is not None, f"{package} is not installed"
        for file in sorted(Path(spec.origin).parent.rglob("*.py")):
            if "tests" not in file.parts:
                yield from _of_docstrings(ast.parse(file.read_bytes()))


def _of_docstrings(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            for part in re.split(r"(?<=[.?!])\s+|\n\s*\n", ast.get_docstring(node) or ""):
                sentence = " ".join(part.split())
                if 40 <= len(sentence) <= 200 and "--" not in sentence and _SENTENCE.fullmatch(sentence):
                    yield sentence
