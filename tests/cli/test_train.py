from __future__ import annotations

import json
import tomllib
from pathlib import Path

import numpy as np
import polars
import pytest

from tests import commands
from tests.conftest import airserve


def refused(*arguments: str, cwd: Path) -> str:
    done = commands.run("train", *arguments, cwd=cwd)
    assert done.returncode in (3, 4), done
    assert "Traceback" not in done.stderr
    assert not list(cwd.glob("packages/*"))
    return " ".join(done.stderr.split())


def train(*arguments: str, output: Path) -> dict[str, object]:
    report: dict[str, object] = airserve("train", *arguments, "--output", str(output), "--json")
    assert (output / "airserve.toml").exists()
    return report


def flowers(path: Path) -> Path:
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 3, 300)
    frame = polars.DataFrame(
        {"length": kind + rng.normal(0, 0.2, 300), "width": rng.normal(0, 1, 300), "species": [f"s{k}" for k in kind]}
    )
    frame.write_csv(path) if path.suffix == ".csv" else frame.write_parquet(path)
    return path


def test_the_digits_are_read_with_at_least_97_percent(tmp_path: Path) -> None:
    report = train("sklearn:digits", output=tmp_path / "p")
    assert report["score"] >= 0.97  # type: ignore[operator]
    assert sum(map(sum, report["confusion"])) == 359  # type: ignore[arg-type]
    assert report["seconds"] < 60  # type: ignore[operator]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_tables_are_learnt_from_and_class_names_travel_along(suffix: str, tmp_path: Path) -> None:
    path = flowers(tmp_path / f"flowers{suffix}")
    report = train(str(path), "--target", "species", "--epochs", "20", output=tmp_path / "p")
    assert report["labels"] == ["s0", "s1", "s2"]
    assert report["score"] > 0.9  # type: ignore[operator]
    assert airserve("publish", str(tmp_path / "p"), "--state-dir", str(tmp_path / "s"), "--json")["version"] == 1


def test_values_make_a_regression(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 3))
    np.savez(tmp_path / "d.npz", x=x, price=x @ [1.0, 2.0, 3.0] * 100 + 1000)
    report = train(str(tmp_path / "d.npz"), "--target", "price", "--epochs", "40", output=tmp_path / "p")
    assert report["metric"] == "r2"
    assert report["score"] > 0.95  # type: ignore[operator]
    assert report["rmse"] < 100  # type: ignore[operator]


@pytest.mark.parametrize("optimiser", ["gd", "sgd", "adam"])
@pytest.mark.parametrize("schedule", ["constant", "cosine", "dynamic"])
def test_every_optimiser_and_schedule_learns(optimiser: str, schedule: str, tmp_path: Path) -> None:
    beta = "0.1" if optimiser == "gd" else "0.001"
    report = train(
        "sklearn:iris", "--optimiser", optimiser, "--schedule", schedule, "--beta", beta, "--epochs", "80",
        output=tmp_path / "p",
    )  # fmt: skip
    assert report["score"] > 0.75  # type: ignore[operator]


def test_a_run_that_was_interrupted_is_resumed_to_the_same_package(tmp_path: Path) -> None:
    options = ["sklearn:iris", "--schedule", "constant"]
    whole = train(*options, "--epochs", "10", output=tmp_path / "whole")
    checkpoints = str(tmp_path / "c")
    train(*options, "--epochs", "4", "--checkpoint-dir", checkpoints, output=tmp_path / "half")
    resumed = train(*options, "--epochs", "10", "--checkpoint-dir", checkpoints, "--resume", output=tmp_path / "rest")
    assert resumed["score"] == whole["score"]
    weights = [(tmp_path / folder / "model.onnx").read_bytes() for folder in ("whole", "rest")]
    assert weights[0] == weights[1]


def test_curves_and_history_are_written(tmp_path: Path) -> None:
    plot, history = tmp_path / "curves.png", tmp_path / "h.json"
    train("sklearn:wine", "--epochs", "6", "--patience", "3", "--plot", str(plot), "--history", str(history),
          output=tmp_path / "p")  # fmt: skip
    assert plot.read_bytes().startswith(b"\x89PNG")
    epochs = json.loads(history.read_text())
    assert {"number", "rate", "loss", "accuracy", "validation_loss"} <= set(epochs[0])


def test_bad_data_is_refused_with_what_to_do(tmp_path: Path) -> None:
    flowers(tmp_path / "f.csv")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "head.csv").write_text("a,b\n")
    (tmp_path / "one.csv").write_text("a,b\n1,x\n2,x\n3,x\n4,x\n5,x\n6,x\n")
    (tmp_path / "text.csv").write_text("a,b,c\nred,1,x\nblue,2,y\n")
    (tmp_path / "hole.csv").write_text("a,b\n1,x\n,y\n")
    (tmp_path / "nan.csv").write_text("a,b\n" + "1,x\nNaN,y\n" * 10)
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 nothing")
    cases = [
        (["nothing.csv"], "does not exist"),
        (["f.csv"], "--target"),
        (["f.csv", "--target", "petals"], "no column 'petals'"),
        (["empty.csv", "--target", "a"], "is empty"),
        (["head.csv", "--target", "a"], "no rows"),
        (["one.csv", "--target", "b"], "nothing to tell apart"),
        (["text.csv", "--target", "c"], "'a' are no numbers"),
        (["hole.csv", "--target", "b"], "empty cells"),
        (["nan.csv", "--target", "b"], "no numbers"),
        (["broken.parquet", "--target", "b"], "cannot be read"),
        (["sklearn:mnist"], "carries no 'mnist'"),
        (["sklearn:iris", "--hidden", "a,b"], "layer sizes"),
        (["sklearn:iris", "--test", "1.5"], "test part"),
        (["sklearn:iris", "--resume"], "no checkpoint"),
    ]
    for arguments, words in cases:
        assert words in refused(*arguments, cwd=tmp_path), arguments


def test_a_private_run_says_what_it_cost_and_writes_it_into_the_manifest(tmp_path: Path) -> None:
    private = ("--epsilon", "3", "--feature-range", "0,16", "--hidden", "64", "--activation", "tanh")
    learning = (
        "--optimiser",
        "sgd",
        "--momentum",
        "0",
        "--learning-rate",
        "0.5",
        "--schedule",
        "constant",
        "--epochs",
        "20",
    )
    report = train("sklearn:digits", *private, *learning, output=tmp_path / "p")
    assert report["score"] >= 0.85  # type: ignore[operator]
    spent = tomllib.loads((tmp_path / "p" / "airserve.toml").read_text())["privacy"]
    assert {**spent, "mechanism": "DP-SGD"} == {**report["privacy"], "mechanism": "DP-SGD"}  # type: ignore[dict-item]
    assert 2.9 < spent["epsilon"] <= 3.01
    assert (spent["delta"], spent["rows"]) == (1e-5, 1438)
    # Exact counts of the rows are not covered by ε.
    assert not (tmp_path / "p" / "baseline.json").exists()
    assert airserve("publish", str(tmp_path / "p"), "--state-dir", str(tmp_path / "s"), "--json")["version"] == 1


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((), "--feature-range 0,16"),
        (("--feature-range", "16,0"), "no range"),
        (("--feature-range", "0,16", "--delta", "0.1"), "smaller --delta"),
        (("--feature-range", "0,16", "--patience", "3"), "does not stop early"),
        (("--feature-range", "0,16", "--epsilon", "0"), "more than 0"),
    ],
)
def test_a_run_that_would_not_be_private_is_refused(arguments: tuple[str, ...], why: str, tmp_path: Path) -> None:
    assert why in refused("sklearn:digits", "--epsilon", "3", *arguments, cwd=tmp_path)
