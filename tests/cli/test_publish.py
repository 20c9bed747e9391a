from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests import large_models
from tests.conftest import AIRSERVE, airserve
from tests.step_models import save_bag_of_words, save_mean_colour, save_tokenizer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_mean_colour(tmp_path / "colours.onnx")
    save_bag_of_words(tmp_path / "words.onnx")
    save_tokenizer(tmp_path / "tokenizer.json")
    (tmp_path / "vision.toml").write_text("[vision]\nsize = 8\nresize = 10\nmean = [127, 127, 127]\n")
    (tmp_path / "labels.txt").write_text("red\ngreen\nblue\n")
    return tmp_path


def publish(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [AIRSERVE, "publish", *arguments, "--state-dir", str(folder / "state"), "--json"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def test_a_bare_graph_is_published_behind_a_step_for_pictures(folder: Path) -> None:
    done = publish(folder, "colours.onnx", "--vision", "vision.toml", "--labels", "labels.txt", "--max-batch", "4")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["model"] == "colours"
    (shown,) = airserve("models", "show", "colours", "--state-dir", str(folder / "state"), "--json")["versions"]
    assert shown["manifest"]["inputs"][0]["name"] == "image" and shown["manifest"]["max_batch"] == 4
    assert shown["manifest"]["labels"] == ["red", "green", "blue"]
    assert shown["manifest"]["vision"]["mean"] == [127, 127, 127]


def test_a_bare_graph_is_published_behind_a_step_for_texts(folder: Path) -> None:
    done = publish(folder, "words.onnx", "--tokenizer", "tokenizer.json", "--max-tokens", "9", "--name", "bag")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["model"] == "bag"
    (shown,) = airserve("models", "show", "bag", "--state-dir", str(folder / "state"), "--json")["versions"]
    assert shown["manifest"]["inputs"][0]["name"] == "text" and shown["manifest"]["text"]["max_tokens"] == 9


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--vision", "vision.toml", "--labels", "vision.toml"], "3 classes apart, but there are 4 labels"),
        (["--labels", "labels.txt"], "--labels belongs to --vision"),
        (["--vision", "vision.toml", "--tokenizer", "tokenizer.json"], "not both"),
        (["--vision", "labels.txt"], "labels.txt is no [vision] section"),
        (["--vision", "nothing.toml"], "nothing.toml cannot be read"),
        (["--tokenizer", "tokenizer.json"], "does not take INT64"),
    ],
)
def test_options_that_do_not_fit_are_refused(folder: Path, arguments: list[str], words: str) -> None:
    done = publish(folder, "colours.onnx", *arguments)
    assert done.returncode == 3 and words in done.stderr


@pytest.mark.models
def test_a_language_model_is_published_with_the_room_that_was_asked_for(folder: Path) -> None:
    done = publish(folder, str(large_models.gemma()), "--name", "gemma", "--context", "512", "--slots", "3")
    assert done.returncode == 0, done.stderr
    (shown,) = airserve("models", "show", "gemma", "--state-dir", str(folder / "state"), "--json")["versions"]
    assert (shown["manifest"]["language"]["context"], shown["manifest"]["language"]["slots"]) == (512, 3)


def test_room_for_answers_is_refused_for_what_gives_none(folder: Path) -> None:
    done = publish(folder, "colours.onnx", "--slots", "2")
    assert done.returncode == 3 and "belong to a language model" in done.stderr
