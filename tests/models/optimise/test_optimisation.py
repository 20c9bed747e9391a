"""From an original to measured variants: everybody has a turn, what fails is told of, what is done is kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from airserve.cli.training import Recipe, train_to_package
from airserve.core.errors import BadPackageError, ModelFailedError
from airserve.models.manifest import check_manifest
from airserve.models.onnx_limits import OnnxLimits
from airserve.models.optimise.families import Given, Subject, subject_of
from airserve.models.optimise.method import Method, Original
from airserve.models.optimise.methods import known_methods
from airserve.models.optimise.optimisation import Asked, Optimised, optimise
from airserve.models.optimise.plot import draw
from airserve.models.optimise.repackaging import serving, with_variants, write_optimised
from airserve.models.optimise.work import Work
from airserve.models.package import open_package
from tests.models.optimise.learners import digits

SECONDS = 0.02


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package of digits, rows and their classes."""
    folder = tmp_path_factory.mktemp("digits")
    train_to_package("sklearn:digits", folder / "package", name="digits", recipe=Recipe(hidden=(32,), epochs=6))
    x, y = digits()
    np.save(folder / "rows.npy", x[-300:])
    np.save(folder / "classes.npy", y[-300:])
    return folder


@pytest.fixture(scope="module")
def subject(folder: Path) -> Subject:
    return subject_in(folder, labels=folder / "classes.npy")


def subject_in(folder: Path, **given: Any) -> Subject:
    package = open_package(folder / "package")
    wanted = Given(folder / "rows.npy", seconds=SECONDS, **given)
    return subject_of(package.folder, package.manifest, package.address, wanted, OnnxLimits())


def run(subject: Subject, work: Path, methods: Sequence[Method], rounds: int = 1, **options: Any) -> Optimised:
    asked = Asked(rounds, options.pop("most_drop", None))
    return optimise(
        subject.original, subject.family, subject.sample, methods, Work(work, subject.key), asked,
        options.pop("on_step", lambda *_: None),
    )  # fmt: skip


def made_by(name: str, make: Any, version: int = 1) -> Method:
    return Method(name, f"made for a test, {name}", lambda _: None, make, version)


def scrambled(original: Original, target: Path) -> None:
    """The same graph with weights of chance: another model."""
    model = onnx.load(original.file)
    random = np.random.default_rng(0)
    for each in model.graph.initializer:
        if len(each.dims) == 2:
            values = random.normal(size=tuple(each.dims)).astype(np.float32)
            each.CopyFrom(onnx.numpy_helper.from_array(values, each.name))
    onnx.save(model, target)


def broken(original: Original, target: Path) -> None:
    """The same graph with weights that are no numbers."""
    model = onnx.load(original.file)
    for each in model.graph.initializer:
        if len(each.dims) == 2:
            values = np.full(tuple(each.dims), np.nan, np.float32)
            each.CopyFrom(onnx.numpy_helper.from_array(values, each.name))
    onnx.save(model, target)


def test_variants_are_measured_beside_the_original_and_packaged(subject: Subject, folder: Path, tmp_path: Path) -> None:
    steps: list[tuple[str, int, int]] = []
    methods = known_methods("onnx", ["slim", "int8-dynamic"]).methods
    found = run(subject, tmp_path, methods, rounds=2, on_step=lambda *step: steps.append(step))
    names = [each.name for each in found.variants]
    assert names == ["fp32", "slim", "int8-dynamic"] and not found.failed
    original, slim, dynamic = found.variants
    assert original.metric == "top-1" and 0.8 < (original.accuracy or 0) <= 1 and original.rows == 200
    for each in found.variants:
        assert each.low is not None and each.high is not None and each.low <= (each.accuracy or 0) <= each.high
        measured = each.measured
        assert measured is not None and measured.threads == 1
        assert 0 < measured.p50_ms <= measured.p99_ms and measured.rows_per_s > 0
        assert measured.best_batch in (1, 2, 4, 8, 16, 32)
    assert slim.accuracy == original.accuracy and dynamic.size_bytes < original.size_bytes / 2
    done = [step[1] for step in steps]
    assert done == sorted(done) and steps[-1][1] == steps[-1][2]

    package = open_package(folder / "package")
    manifest = serving(with_variants(package.manifest, found, names), ["int8-dynamic"])
    written = open_package(
        write_optimised(tmp_path / "new", package.folder, package.files, check_manifest(manifest), found)
    )
    assert written.manifest == manifest and manifest.serve == ("int8-dynamic",)
    assert written.path("int8-dynamic.onnx").stat().st_size == dynamic.size_bytes
    draw(tmp_path / "plot.png", "digits", manifest, found, "int8-dynamic")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")

    # Once more from what came out: the old variants are gone, the original is what it was.
    fewer = with_variants(manifest, dataclasses.replace(found, measurements=found.measurements[:2]), ["slim"])
    again = open_package(write_optimised(tmp_path / "fewer", written.folder, written.files, fewer, found))
    assert "int8-dynamic.onnx" not in again.files and again.manifest.serve == ()


def test_what_fails_or_is_another_model_is_told_of_and_the_others_go_on(subject: Subject, tmp_path: Path) -> None:
    def refuses(_: Original, __: Path) -> None:
        raise BadPackageError("no such luck")

    def breaks(_: Original, __: Path) -> None:
        raise KeyError("half-way\nand more")

    methods = [
        made_by("refuses", refuses), made_by("breaks", breaks), made_by("scrambled", scrambled),
        made_by("broken", broken), made_by("rubbish", lambda _, target: target.write_bytes(b"\x00rubbish")),
        *known_methods("onnx", ["slim"]).methods,
    ]  # fmt: skip
    found = run(subject, tmp_path, methods)
    assert [each.name for each in found.variants] == ["fp32", "slim"]
    assert found.failed["refuses"] == "no such luck"
    assert found.failed["breaks"] == r"KeyError: 'half-way\nand more'"
    assert "that is another model" in found.failed["scrambled"]
    assert "no numbers" in found.failed["broken"]
    assert found.failed["rubbish"]


def test_what_was_done_is_not_done_again_and_another_version_of_a_method_is(subject: Subject, tmp_path: Path) -> None:
    made = []

    def copies(original: Original, target: Path) -> None:
        made.append(target)
        target.write_bytes(original.file.read_bytes())

    first = run(subject, tmp_path, [made_by("copy", copies)])
    kept = sorted((file.name, file.stat().st_mtime_ns) for file in (tmp_path / subject.key).iterdir())
    assert run(subject, tmp_path, [made_by("copy", copies)]) == first
    assert sorted((file.name, file.stat().st_mtime_ns) for file in (tmp_path / subject.key).iterdir()) == kept
    assert len(made) == 1
    run(subject, tmp_path, [made_by("copy", copies, version=2)])
    assert len(made) == 2


def test_an_interrupted_run_goes_on_where_it_was(subject: Subject, tmp_path: Path) -> None:
    def interrupted(what: str, _: int, __: int) -> None:
        if what.startswith("slim: time"):
            raise KeyboardInterrupt

    methods = known_methods("onnx", ["slim"]).methods
    with pytest.raises(KeyboardInterrupt):
        run(subject, tmp_path, methods, on_step=interrupted)
    before = {file.name: file.stat().st_mtime_ns for file in (tmp_path / subject.key).iterdir()}
    assert "original-1.0.json" in before and "slim-1.onnx" in before and "slim-1.0.json" not in before
    run(subject, tmp_path, methods)
    after = {file.name: file.stat().st_mtime_ns for file in (tmp_path / subject.key).iterdir()}
    assert before.items() < after.items()


def test_another_sample_or_machine_setting_is_another_piece_of_work(subject: Subject, folder: Path) -> None:
    assert subject_in(folder, labels=folder / "classes.npy").key == subject.key
    others = {subject_in(folder).key, subject_in(folder, labels=folder / "classes.npy", rows=100).key,
              subject_in(folder, labels=folder / "classes.npy", threads=2).key}  # fmt: skip
    assert len(others | {subject.key}) == 4


def test_a_cascade_joins_where_it_saves_and_keeps_the_drop(folder: Path, tmp_path: Path) -> None:
    package = open_package(folder / "package")
    slow = slowed(package.path("model.onnx"), tmp_path / "slow.onnx")
    manifest = package.manifest
    from airserve.models.package import write_package

    write_package(tmp_path / "package", manifest, {"model.onnx": slow})
    np.save(tmp_path / "rows.npy", np.load(folder / "rows.npy"))
    subject = subject_in(tmp_path)

    def rough(original: Original, target: Path) -> None:
        """What the original was before it was slowed, and a little worse."""
        model = onnx.load(package.path("model.onnx"))
        random = np.random.default_rng(0)
        for each in model.graph.initializer:
            if len(each.dims) == 2:
                values = onnx.numpy_helper.to_array(each)
                noise = random.normal(size=values.shape) * values.std() * 0.35
                each.CopyFrom(onnx.numpy_helper.from_array((values + noise).astype(np.float32), each.name))
        onnx.save(model, target)

    found = run(subject, tmp_path / "work", [made_by("rough", rough)], most_drop=0.02)
    assert [each.name for each in found.variants] == ["fp32", "rough", "cascade"]
    cascade = found.variants[2]
    assert cascade.cascade is not None and (cascade.cascade.small, cascade.cascade.full) == ("rough", "fp32")
    assert 0 < cascade.cascade.share < 1
    assert (found.variants[1].accuracy or 0) <= (cascade.accuracy or 0)
    assert len(found.curve) > 3
    manifest = with_variants(manifest, found, ["cascade"])
    assert [each.name for each in manifest.variants] == ["fp32", "rough", "cascade"], "it brings its small variant"
    check_manifest(serving(manifest, ["cascade"]))


def slowed(source: Path, target: Path) -> Path:
    """The same answers after some matrix products that change nothing."""
    model = onnx.load(source)
    identity = onnx.numpy_helper.from_array(np.eye(64, dtype=np.float32), "identity")
    model.graph.initializer.append(identity)
    given = model.graph.input[0].name
    names = [given, *(f"waited{step}" for step in range(400))]
    waiting = [onnx.helper.make_node("MatMul", [names[step], "identity"], [names[step + 1]]) for step in range(400)]
    for node in model.graph.node:
        node.input[:] = [names[-1] if name == given else name for name in node.input]
    nodes = [*waiting, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, target)
    return target


def test_an_original_that_cannot_be_judged_ends_it(subject: Subject, tmp_path: Path) -> None:
    class Refusing:
        suffix = ".onnx"

        def judge(self, file: Path) -> Any:
            raise ModelFailedError("it fails")

    with pytest.raises(ModelFailedError, match="it fails"):
        optimise(
            subject.original, Refusing(), subject.sample, [], Work(tmp_path, "k"), Asked(1), lambda *_: None,  # type: ignore[arg-type]
        )  # fmt: skip
