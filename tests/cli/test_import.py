from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from tests.conftest import AIRSERVE, airserve


def save_iris(path: Path) -> Path:
    # It takes seconds, and each process of a run of the tests imports this file.
    import skops.io

    iris = load_iris()
    skops.io.dump(LogisticRegression(max_iter=500).fit(iris.data, iris.target_names[iris.target]), path)
    return path


def run(*arguments: object, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [AIRSERVE, "import", *map(str, arguments)], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )


def test_an_estimator_becomes_a_folder_that_can_be_published(tmp_path: Path) -> None:
    done = run(save_iris(tmp_path / "Iris Model.skops"), folder=tmp_path)
    assert done.returncode == 0, done.stderr
    for said in ("iris-model from scikit-learn LogisticRegression", "x  FP32 [-1, 4]", "parity", "setosa, versicolor"):
        assert said in done.stdout
    published = airserve("publish", str(tmp_path / "iris-model"), "--state-dir", str(tmp_path / "state"), "--json")
    assert (published["model"], published["version"]) == ("iris-model", 1)


def test_it_is_published_at_once_without_leaving_a_folder(tmp_path: Path) -> None:
    path = save_iris(tmp_path / "iris.skops")
    done = run("file", path, "--publish", "--state-dir", tmp_path / "state", "--json", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    assert answer["published"]["model"] == "iris"
    assert answer["folder"] is None
    assert answer["parity"]["difference"] <= 1e-4
    assert not (tmp_path / "iris").exists()
    (listed,) = airserve("models", "list", "--state-dir", str(tmp_path / "state"), "--json")
    assert listed["model"] == "iris"


def test_another_server_becomes_a_package(tmp_path: Path) -> None:
    arguments = ("openai", "http://127.0.0.1:8000/v1", "--model", "Qwen/Qwen3-8B", "--key-variable", "GPU_KEY")
    done = run(*arguments, "--name", "chat", "--json", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    upstream = json.loads(done.stdout)["manifest"]["upstream"]
    assert upstream == {"url": "http://127.0.0.1:8000/v1", "model": "Qwen/Qwen3-8B", "key_variable": "GPU_KEY"}
    assert sorted(path.name for path in (tmp_path / "chat").iterdir()) == ["SHA256SUMS", "airserve.toml"]


def test_a_pickle_is_refused_with_exit_code_three(tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(b"")
    done = run("model.pkl", folder=tmp_path)
    assert done.returncode == 3
    assert "can run any code when it is loaded" in done.stderr
    assert run("nowhere.onnx", folder=tmp_path).returncode == 4
