"""Gemma 3 270M with its weights quantised again: how perplexed each variant is, how large and how fast.

Variants and their scores are kept in `.cache/optimise-language/`, since they take minutes and do not change; times are
measured anew. `prepare()` makes what is kept, and measures no time.
"""

from __future__ import annotations

import importlib.util
import statistics
import tempfile
from pathlib import Path

from tests import large_models

from airserve.core.call import Tensors
from airserve.models.gguf_import import package_gguf
from airserve.models.manifest import Manifest
from airserve.models.optimise.gguf_variants import METHODS
from airserve.models.optimise.labelled_sample import LabelledSample
from airserve.models.optimise.language_family import LanguageFamily
from airserve.models.optimise.language_process import Speed
from airserve.models.optimise.machine import cores
from airserve.models.optimise.method import Original
from airserve.models.optimise.optimisation import Asked, Measurement, Optimised, optimise
from airserve.models.optimise.work import Work, work_key
from airserve.models.package import open_package
from benchmarks import report

CACHE = large_models.CACHE.parent / "optimise-language"
ROUNDS = 3
TOKENS = 448


class _Noting(LanguageFamily):
    """Keeps how fast prompts were read, by the name of the variant's file."""

    def __init__(self, manifest: Manifest, text: str, *, threads: int) -> None:
        super().__init__(manifest, text, threads=threads, most=TOKENS)
        self.prompts: dict[str, list[float]] = {}

    def speed(self, file: Path) -> Speed:
        speed = super().speed(file)
        self.prompts.setdefault(file.name, []).append(speed.prompt_tokens_per_s)
        return speed


def main() -> None:
    """Measure and publish."""
    for left in CACHE.glob("*/*.[0-9].json"):
        left.unlink()
    measure(ROUNDS)


def measure(rounds: int) -> None:
    """So many rounds of timing, those that are kept counted in; publish what came of it."""
    with tempfile.TemporaryDirectory(prefix="airserve-bench-") as folder:
        original, family, work = _subject(Path(folder))
        asked = Asked(rounds=rounds, most_drop=None)
        found = optimise(original, family, LabelledSample((), ()), METHODS, work, asked, lambda *_: None)
        _publish(found, family, work, rounds)


def prepare() -> None:
    """Make and score all variants that are not kept yet."""
    with tempfile.TemporaryDirectory(prefix="airserve-bench-") as folder:
        original, family, work = _subject(Path(folder))
        work.item("original", 1, family.suffix).answers(lambda: family.judge(original.file))
        for method in METHODS:
            if method.fits(original) is None:
                item = work.item(method.name, method.version, family.suffix)
                file = item.make(lambda target, method=method: method.make(original, target))  # type: ignore[misc]
                item.answers(lambda file=file: family.judge(file))  # type: ignore[misc]


def text() -> str:
    """Prose that a package carries: what scikit-learn says of its data sets."""
    spec = importlib.util.find_spec("sklearn")
    assert spec is not None and spec.origin is not None, "scikit-learn is not installed"
    files = sorted((Path(spec.origin).parent / "datasets" / "descr").glob("*.rst"))
    return "\n".join(file.read_text() for file in files)


def _subject(folder: Path) -> tuple[Original, _Noting, Work]:
    package = package_gguf(large_models.gemma(), folder / "gemma", name="gemma", context=2048)
    opened = open_package(package)
    family = _Noting(opened.manifest, text(), threads=cores())
    return Original(package, opened.manifest), family, Work(CACHE, work_key([opened.address, text(), str(TOKENS)]))


def _publish(found: Optimised, family: _Noting, work: Work, rounds: int) -> None:
    rows = [_row(each, family, work) for each in found.measurements]
    notes = (
        f"Perplexity and its ratio to the original's, with 95 % intervals, on {TOKENS} tokens of scikit-learn's "
        "descriptions of its data sets; the ratio is by pairs of tokens.",
        f"Speeds are medians over {rounds} {'round' if rounds == 1 else 'rounds'} in which every variant had a turn.",
        "The original is Q4_K_M: its matrices have 4 to 6 bits, and the embedding of its 262,144 tokens, 73 % of the "
        "file, has 8. Variants without `-all` leave the embedding as it is.",
        *(f"Not made: {name}, {reason}." for name, reason in {**found.skipped, **found.failed}.items()),
    )
    columns = (
        "variant", "MB", "perplexity", "ratio", "ms a token", "tokens/s", "tokens/s, all slots", "prompt tokens/s",
        "memory MB",
    )  # fmt: skip
    ratios = {each.variant.name: each.accuracy.value for each in found.measurements}
    speeds = {each.variant.name: 1000 / _p50(each) for each in found.measurements}
    sizes = {each.variant.name: each.variant.size_bytes / 1e6 for each in found.measurements}
    report.publish(
        "optimise-language",
        "Gemma 3 270M, quantised again",
        [report.Table("What each variant costs and is worth", columns, rows, notes)],
        [],
        [
            report.Bars("Perplexity of the original over its own", "ratio", ratios),
            report.Bars("Size", "MB", sizes),
            report.Bars("One generation", "tokens/s", speeds),
        ],
    )


def _row(each: Measurement, family: _Noting, work: Work) -> tuple[str, ...]:
    variant, measured = each.variant, each.variant.measured
    assert measured is not None, "it was timed"
    made = bool(variant.method)
    item = work.item(variant.name if made else "original", 1, family.suffix)
    value, low, high = family.perplexity(item.answers(_kept))
    prompts = family.prompts[each.file.name] if each.file is not None else []
    return (
        variant.name,
        report.number(variant.size_bytes / 1e6),
        f"{value:.2f} ({low:.2f} to {high:.2f})",
        f"{each.accuracy.value:.3f} ({each.accuracy.low:.3f} to {each.accuracy.high:.3f})",
        report.number(_p50(each)),
        report.number(1000 / _p50(each)),
        report.number(measured.rows_per_s) + f" ({measured.best_batch})",
        report.number(statistics.median(prompts)),
        report.number(measured.memory_bytes / 1e6),
    )


def _kept() -> Tensors:
    raise AssertionError("every variant was scored before it was timed")


def _p50(each: Measurement) -> float:
    assert each.variant.measured is not None, "it was timed"
    return each.variant.measured.p50_ms
