"""`airserve optimise` on a language model, small enough for a test: what is measured, chosen and served."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from airserve.core.generation import Generation, Piece
from airserve.engines import load_generator
from airserve.models.catalog import Catalog, DeploymentSpec
from airserve.storage import Database
from tests import commands
from tests.models.optimise import tiny_language


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, a text and a state folder."""
    folder = tmp_path_factory.mktemp("language")
    tiny_language.save(folder / "tiny.gguf")
    random = np.random.default_rng(0)
    words = ["".join(random.choice(list("abcdefgh"), 5)) for _ in range(60)]
    (folder / "text.txt").write_text(" ".join(words))
    return folder


def optimise(place: Path, *options: str) -> Any:
    given = (str(place / "tiny.gguf"), "--data", str(place / "text.txt"), "--state-dir", str(place / "state"))
    return commands.run("optimise", *given, "--methods", "q8-0,q4-0-all", "--rounds", "1", *options)


def test_the_chosen_variant_is_the_first_and_generates(place: Path) -> None:
    done = optimise(place, "--target-size", "60KB", "--json")
    assert done.returncode == 0, done.stdout
    found = json.loads(done.stdout)
    assert (found["chosen"], found["served"]) == ("q4-0-all", ["q4-0-all"])
    database = Database.open(place / "state")
    try:
        (info,) = Catalog(database, place / "state" / "store").show("tiny")
    finally:
        database.close()
    first, *others = info.manifest.variants
    assert first.name == "q4-0-all" and [each.name for each in others] == ["gguf", "q8-0"]
    assert first.metric == "perplexity ratio" and first.rows == 224
    assert first.accuracy is not None and first.low is not None and first.high is not None
    assert first.low <= first.accuracy <= first.high and first.accuracy != 1.0
    assert first.measured is not None and first.measured.best_batch in (1, 4)
    _generates(place, info.manifest)


def _generates(place: Path, manifest: Any) -> None:
    out = optimise(place, "--target-size", "60KB", "--no-publish", "--output", str(place / "out"))
    assert out.returncode == 0, out.stderr
    source = DeploymentSpec(manifest.name, 1, "", place / "out", manifest, ()).source
    assert source.file == "q4-0-all.gguf"
    generator = load_generator("llama", source, threads=1)
    pieces: list[Piece] = []

    def hear(piece: Piece) -> bool:
        pieces.append(piece)
        return True

    parameters = {"prompt": "abc", "max_tokens": 3, "ignore_eos": True}
    generator.generate(Generation(chat=False, parameters=parameters), hear)
    generator.close()
    assert pieces[-1].tokens.output == 3


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--labels", "classes.npy"], "a language model is judged by its perplexity"),
        (["--rows", "50"], "at least 224 tokens"),
        (["--data", "."], "give a .txt file"),
    ],
)
def test_what_a_language_model_is_not_measured_by_is_refused(place: Path, options: list[str], sentence: str) -> None:
    done = optimise(place, *options)
    assert (done.returncode, sentence in " ".join(done.stderr.split())) == (3, True), done.stderr
