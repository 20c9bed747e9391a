"""What variants of real models cost and are worth: EfficientNet-Lite0 on photographs, all-MiniLM-L6-v2 on sentences."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from tests import large_models

from airserve.engines import load_model
from airserve.models.onnx_limits import OnnxLimits
from airserve.models.optimise import families, optimisation
from airserve.models.optimise.choice import Candidate, Choice, Limits, choose
from airserve.models.optimise.frontier import not_dominated, size_of
from airserve.models.optimise.methods import known_methods
from airserve.models.optimise.optimisation import Measurement, Optimised
from airserve.models.optimise.plot import draw
from airserve.models.optimise.repackaging import with_variants
from airserve.models.optimise.work import Work, work_key
from airserve.models.package import Package, open_package
from benchmarks import report
from benchmarks.engine_alone import source
from benchmarks.optimise_samples import PICTURES, SENTENCES, SURE, write_pictures, write_sentences

MOST_DROP = 0.01
FASTER, SMALLER = 2.0, 3.5
_CACHE = Path(__file__).parents[1] / ".cache" / "optimise"
_UNSURE = 300


def main() -> None:
    """Measure and publish a page for each model. `.cache/optimise` keeps variants and their answers; times are new."""
    for left in _CACHE.glob("*/*.[0-9].json"):
        left.unlink()
    publish()


def publish() -> None:
    """Write the pages; what is kept is not measured again."""
    vision, text, looked = _given()
    found = _optimised(vision, _CACHE / "pictures")
    note = (
        f"{PICTURES} square parts of photographs that scikit-image and scikit-learn carry, those of {looked} of which "
        "the model is at least half sure; a third of them calibrates, the accuracy is of the others. Times hold "
        "decoding a PNG and scaling it."
    )
    _publish("optimise-vision", "EfficientNet-Lite0", vision, found, [note, _unsure(vision, found)])
    found = _optimised(text, _CACHE / "sentences.txt")
    note = (
        f"{SENTENCES} sentences from the documentation inside of scikit-learn, SciPy, scikit-image and Matplotlib; a "
        "third of them calibrates. Times hold cutting into tokens."
    )
    _publish("optimise-text", "all-MiniLM-L6-v2", text, found, [note])


def prepare() -> None:
    """Make and judge all variants that are not kept yet; what it times on the way is not kept."""
    vision, text, _ = _given()
    _unsure(vision, _optimised(vision, _CACHE / "pictures", rounds=1))
    _optimised(text, _CACHE / "sentences.txt", rounds=1)


def _given() -> tuple[Package, Package, int]:
    """Both models; their samples are there. Of how many pictures those of the sample were taken."""
    vision, text = open_package(large_models.efficientnet()), open_package(large_models.minilm())
    if not (_CACHE / "sentences.txt").exists():
        write_sentences(_CACHE / "sentences.txt", SENTENCES)
    return vision, text, _pictures(vision)


def _pictures(package: Package) -> int:
    """Of how many pictures those in the cache were taken."""
    folder, count = _CACHE / "pictures", _CACHE / "pictures.count"
    if not count.exists():
        shutil.rmtree(folder, ignore_errors=True)
        with closing(load_model("onnx", source(package.folder), threads=1)) as model:
            count.write_text(str(write_pictures(folder, model, SURE, PICTURES)))
    return int(count.read_text())


def _optimised(package: Package, data: Path, rounds: int = 3) -> Optimised:
    given = families.Given(data)
    subject = families.subject_of(package.folder, package.manifest, package.address, given, OnnxLimits())
    work, methods = Work(_CACHE, subject.key), known_methods(package.manifest.engine).methods
    return optimisation.optimise(
        subject.original, subject.family, subject.sample, methods, work, optimisation.Asked(rounds), _say
    )


def _say(what: str, done: int, total: int) -> None:
    print(f"\r{done}/{total} {what:<50}", end="", flush=True)


def _unsure(package: Package, optimised: Optimised) -> str:
    """How the variants agree where the original is hardly sure of anything."""
    kept = _CACHE / f"unsure-{work_key([each.name for each in optimised.variants])}.txt"
    if not kept.exists():
        with tempfile.TemporaryDirectory(prefix="airserve-bench-") as scratch:
            kept.write_text(", ".join(_on_any(package, optimised, Path(scratch) / "pictures")))
    return f"On parts of photographs however sure the model is of them the agreement is lower: {kept.read_text()}."


def _on_any(package: Package, optimised: Optimised, folder: Path) -> list[str]:
    with closing(load_model("onnx", source(package.folder), threads=1)) as model:
        write_pictures(folder, model, 0.0, _UNSURE)
    given = families.Given(folder)
    family = families.subject_of(package.folder, package.manifest, package.address, given, OnnxLimits()).family
    exact = family.judge(package.folder / package.manifest.variants[0].file)
    return [
        f"{each.variant.name} {family.accuracy(exact, family.judge(each.file)).value:.3f}"
        for each in optimised.measurements[1:]
        if each.file is not None
    ]


def _publish(name: str, title: str, package: Package, optimised: Optimised, notes: Sequence[str]) -> None:
    print()
    whole = with_variants(package.manifest, optimised, [each.name for each in optimised.variants])
    sizes = [size_of(whole, each) for each in optimised.variants]
    candidates = [each.candidate(size) for each, size in zip(optimised.measurements, sizes, strict=True)]
    choice = choose(candidates[0], candidates[1:], Limits(most_drop=MOST_DROP))
    tables = [_table(optimised, sizes, choice, notes)]
    if optimised.curve:
        tables.append(_curve(optimised))
    report.publish(name, f"{title}: variants", tables, _goals(candidates), [])
    picture = report.RESULTS / f"{name}.png"
    draw(picture, title, package.manifest, optimised, choice.name)
    page = report.RESULTS / f"{name}.md"
    head, _, rest = page.read_text().partition("\n\n")
    page.write_text(
        f"{head}\n\n![{title}: accuracy against time, bubbles as large as the weights]({picture.name})\n\n{rest}"
    )


def _table(optimised: Optimised, sizes: Sequence[int], choice: Choice, notes: Sequence[str]) -> report.Table:
    metric = optimised.measurements[0].accuracy.metric
    columns = (
        "variant", metric, "95 %", "loss", "MB", "RAM MB", "p50 ms", "p99 ms", "rows/s", "best batch", "",
    )  # fmt: skip
    good = not_dominated(optimised.variants, sizes)
    rows = [_row(*each, choice) for each in zip(optimised.measurements, sizes, good, strict=True)]
    failed = [f"{name} failed: {why}." for name, why in optimised.failed.items()]
    chosen = f"With `--max-accuracy-drop 1%`: {choice.why}."
    return report.Table("Variants", columns, rows, (*notes, chosen, *failed))


def _row(each: Measurement, size: int, good: bool, choice: Choice) -> tuple[str, ...]:
    variant, accuracy = each.variant, each.accuracy
    assert variant.measured is not None
    measured = variant.measured
    mark = "chosen" if variant.name == choice.name else "" if good else "dominated"
    return (
        variant.name,
        f"{accuracy.value:.4f}",
        f"{accuracy.low:.4f} to {accuracy.high:.4f}",
        f"{accuracy.loss:.2%}",
        report.number(size / 1e6),
        report.number(measured.memory_bytes / 1e6),
        report.number(measured.p50_ms),
        report.number(measured.p99_ms),
        report.number(measured.rows_per_s),
        str(measured.best_batch),
        mark,
    )


def _curve(optimised: Optimised) -> report.Table:
    rows = [
        (f"{point.threshold:.4f}", f"{point.share:.0%}", f"{point.accuracy:.4f}", report.number(point.ms))
        for point in optimised.curve
    ]
    cascade = next(each.cascade for each in optimised.variants if each.cascade is not None)
    note = (
        f"{cascade.small} answers where it is sure, else {cascade.full}; {cascade.threshold:.4f} is the threshold that "
        "the calibration part of the sample gave."
    )
    return report.Table(
        "The cascade, by its threshold", ("threshold", "stay small", "accuracy", "ms a row"), rows, (note,)
    )


def _goals(candidates: Sequence[Candidate]) -> list[report.Goal]:
    """Of the variants that lose at most 1 %: how near the fastest or the smallest comes to what is wanted."""
    first, *others = candidates
    good = [each for each in others if each.loss <= MOST_DROP]
    faster = max((first.ms / each.ms for each in good), default=0.0)
    smaller = max((first.bytes / each.bytes for each in good), default=0.0)
    wanted = f"{faster:.2f} times faster ({FASTER:g} wanted) or {smaller:.2f} times smaller ({SMALLER:g} wanted)"
    return [
        report.Goal("variants with measured accuracy", len(others), 4),
        report.Goal(f"at ≤ 1 % loss {wanted}: the larger share", max(faster / FASTER, smaller / SMALLER), 1.0),
    ]
