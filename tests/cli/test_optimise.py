"""`airserve optimise`: variants of a published model, the choice among them, and work that was killed."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from airserve.cli.training import Recipe, train_to_package
from airserve.models.catalog import Catalog
from airserve.models.package import open_package
from airserve.storage import Database
from tests import commands
from tests.conftest import AIRSERVE, publish
from tests.models.optimise.learners import digits

QUICK = ("--rounds", "1", "--seconds", "0.02", "--methods", "slim,int8-dynamic")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a package of digits, its rows and classes, and a state folder where it is published."""
    folder = tmp_path_factory.mktemp("optimise")
    train_to_package("sklearn:digits", folder / "package", name="digits", recipe=Recipe(hidden=(32,), epochs=6))
    x, y = digits()
    np.save(folder / "rows.npy", x[-240:])
    (folder / "classes.txt").write_text("\n".join(map(str, y[-240:])))
    (folder / "state").mkdir()
    publish(folder / "state", {"digits": folder / "package"})
    return folder


def arguments(place: Path, model: str, *options: str) -> list[str]:
    return [
        "optimise", model, "--data", str(place / "rows.npy"), "--labels", str(place / "classes.txt"),
        "--state-dir", str(place / "state"), *options,
    ]  # fmt: skip


def run(place: Path, model: str, *options: str) -> subprocess.CompletedProcess[str]:
    return commands.run(*arguments(place, model, *options))


def document(place: Path, model: str, *options: str) -> Any:
    done = run(place, model, *options, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def published(place: Path) -> dict[int, Any]:
    database = Database.open(place / "state")
    try:
        return {info.version: info for info in Catalog(database, place / "state" / "store").show("digits")}
    finally:
        database.close()


def test_variants_become_a_version_that_no_alias_points_at_until_one_is_chosen(place: Path) -> None:
    found = document(place, "digits", *QUICK)
    assert [each["name"] for each in found["variants"]] == ["fp32", "slim", "int8-dynamic"]
    assert found["version"] == 1 and found["chosen"] is None and found["served"] == ["fp32"]
    assert found["published"] == {**found["published"], "version": 2, "alias": None}
    assert "pictures" in found["left_out"].get("resolution-71", "pictures")
    infos = published(place)
    assert infos[1].aliases == ("prod",) and infos[2].aliases == ()
    assert infos[2].manifest.served[0].name == "fp32"

    chosen = document(place, "digits", *QUICK, "--max-accuracy-drop", "50%", "--alias", "prod", "--version", "1")
    assert chosen["chosen"] == "int8-dynamic" and chosen["why"].startswith("int8-dynamic: ")
    infos = published(place)
    assert infos[chosen["published"]["version"]].aliases == ("prod",)
    assert [each.name for each in infos[chosen["published"]["version"]].manifest.served] == ["int8-dynamic"]
    # The second command measured nothing: the figures are those of the first.
    assert chosen["variants"] == found["variants"]

    shown = commands.run("models", "show", "digits", "--state-dir", str(place / "state"))
    assert shown.returncode == 0 and "int8-dynamic ←" in shown.stdout and "p99" in shown.stdout


def test_a_bare_package_is_optimised_into_a_folder_with_a_plot_and_served_variants(place: Path, tmp_path: Path) -> None:
    options = ("--no-publish", "--output", str(tmp_path / "out"), "--plot", str(tmp_path / "plot.png"))
    done = run(place, str(place / "package"), *QUICK, *options, "--serve", "fp32,int8-dynamic")
    assert done.returncode == 0, done.stderr
    assert "int8-dynamic ←" in done.stdout and "left out" not in done.stdout
    manifest = open_package(tmp_path / "out").manifest
    assert manifest.serve == ("fp32", "int8-dynamic")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_limits_that_nothing_keeps_end_with_1_and_the_nearest_and_publish_nothing(place: Path) -> None:
    before = set(published(place))
    done = run(place, "digits", *QUICK, "--version", "1", "--target-size", "1KB")
    assert done.returncode == 1
    assert "no variant keeps 0.001 MB; nearest is int8-dynamic" in " ".join(done.stderr.split())
    assert set(published(place)) == before


@pytest.mark.parametrize(
    ("options", "code", "sentence"),
    [
        (["--methods", "int3"], 3, "no method 'int3'"),
        (["--serve", "int9", *QUICK], 3, "--serve names 'int9', which is no variant; there may be fp32, slim"),
        (["--serve", "slim", "--methods", "fp16"], 3, "--serve names 'slim', which is no variant"),
        (["--output", "/tmp"], 3, "/tmp exists already"),
        (["--serve", "auto", "--target-size", "1MB"], 3, "give one of them"),
        (["--target-latency", "soon"], 3, "--target-latency is a time such as 5ms"),
        (["--keep", "some"], 3, "--keep is 'all' or 'front'"),
        (["--version", "99"], 4, "has no version 99"),
        (["--train", "gone.npz"], 4, "gone.npz does not exist"),
    ],
)
def test_wrong_options_are_refused_with_a_sentence(place: Path, options: list[str], code: int, sentence: str) -> None:
    done = run(place, "digits", *options)
    assert (done.returncode, sentence in " ".join(done.stderr.split())) == (code, True), done.stderr


def test_what_is_no_model_is_refused(place: Path) -> None:
    assert "gone.onnx does not exist" in run(place, "gone.onnx").stderr
    assert "no model 'nothing'" in run(place, "nothing").stderr


def test_killed_work_goes_on_where_it_was(place: Path, tmp_path: Path) -> None:
    given = arguments(place, "digits", "--version", "1", "--rounds", "2", "--seconds", "0.05",
                      "--methods", "slim", "--no-publish", "--json")  # fmt: skip
    work = place / "state" / "optimise"
    others = set(work.iterdir()) if work.exists() else set()
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([AIRSERVE, *given], stdout=log, stderr=log)
        end = time.monotonic() + 60
        while not (rounds := [file for each in set(work.glob("*")) - others for file in each.glob("slim*.0.json")]):
            assert process.poll() is None and time.monotonic() < end, (tmp_path / "log").read_text()
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait(60)
    (folder,) = {file.parent for file in rounds}
    before = {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}
    assert "original-1.1.json" not in before, "it had finished already"
    done = commands.run(*given)
    assert done.returncode == 0, done.stderr
    after = {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}
    assert before.items() < after.items() and "slim-1.1.json" in after
    anew = commands.run(*given, "--fresh")
    assert anew.returncode == 0, anew.stderr
    assert all(file.stat().st_mtime_ns > after[file.name] for file in folder.iterdir())
