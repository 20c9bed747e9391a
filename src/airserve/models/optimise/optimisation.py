"""Make the variants of a model, and measure what each costs and is worth.

First all are made, tried and judged; then all are timed, in rounds in which everybody takes a turn, the original too,
so that a machine that slows down slows them alike. After the first round a cascade may join. What is done is kept
(`work.py`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from airserve.core.call import Array, Tensors
from airserve.core.errors import AirserveError, ModelFailedError
from airserve.models.manifest import Cascade, Variant
from airserve.models.optimise.accuracy import classes
from airserve.models.optimise.cascades import Fitted, Member, Point, cheapest, fit
from airserve.models.optimise.choice import Candidate
from airserve.models.optimise.family import Accuracy, Family, Round
from airserve.models.optimise.graphs import without_advice
from airserve.models.optimise.labelled_sample import LabelledSample
from airserve.models.optimise.machine import machine_name
from airserve.models.optimise.method import Method, Original
from airserve.models.optimise.tensor_family import TensorFamily
from airserve.models.optimise.timing import measured
from airserve.models.optimise.work import Item, Work, work_key

OnStep = Callable[[str, int, int], None]
"""Told what is being done, how many steps are done, and how many there are."""

CASCADE = "cascade"
_MOST_LOSS = 0.5
_CHEAPER = 0.9


@dataclass(frozen=True, slots=True)
class Asked:
    """`rounds` of timing; `most_drop` is what a cascade may lose (0.01: 1 %), None for no cascade."""

    rounds: int = 3
    most_drop: float | None = 0.01


@dataclass(frozen=True, slots=True)
class Measurement:
    """A measured variant: as the manifest says it, its accuracy in full, where its weights lie (None: a cascade)."""

    variant: Variant
    accuracy: Accuracy
    file: Path | None

    def candidate(self, size_bytes: int) -> Candidate:
        """As it is chosen by."""
        assert self.variant.measured is not None, "it was timed"  # noqa: S101
        return Candidate(
            self.variant.name,
            self.accuracy.loss,
            self.accuracy.loss_low,
            self.accuracy.loss_high,
            self.variant.measured.p50_ms,
            size_bytes,
            self.accuracy.rows,
        )


@dataclass(frozen=True, slots=True)
class Optimised:
    """All that was measured, the original first. `failed` and `skipped` say of the others why they are not among it."""

    measurements: tuple[Measurement, ...]
    failed: dict[str, str]
    skipped: dict[str, str]
    curve: tuple[Point, ...] = ()

    @property
    def variants(self) -> tuple[Variant, ...]:
        """As the manifest lists them."""
        return tuple(each.variant for each in self.measurements)


@dataclass(slots=True)
class _Tried:
    """A variant on its way: `method` says how it was made."""

    name: str
    method: str
    item: Item
    file: Path
    answers: Tensors
    accuracy: Accuracy
    rounds: list[Round] = dataclasses.field(default_factory=list)
    cascade: Cascade | None = None


class _Steps:
    """Counts what is done for whoever shows it."""

    def __init__(self, tell: OnStep, total: int) -> None:
        self._tell, self._done, self.total = tell, 0, total

    def begin(self, what: str) -> None:
        self._tell(what, self._done, self.total)

    def end(self, what: str, steps: int = 1) -> None:
        self._done += steps
        self._tell(what, self._done, self.total)


def optimise(
    original: Original, family: Family, sample: LabelledSample, methods: Sequence[Method], work: Work, asked: Asked,
    on_step: OnStep,
) -> Optimised:  # fmt: skip
    """Try all `methods` on `original`. A method that does not fit, fails, or makes another model of it is told of.

    Raises what the family raises where the original itself cannot be judged or timed.
    """
    reasons = {method.name: method.fits(original) for method in methods}
    skipped = {name: reason for name, reason in reasons.items() if reason is not None}
    fitting = [method for method in methods if method.name not in skipped]
    steps = _Steps(on_step, sum(each.steps for each in fitting) + (1 + asked.rounds) * (1 + len(fitting)))
    first = _original(original, family, work, steps)
    tried, failed = [first], {}
    for method in fitting:
        try:
            tried.append(_made(method, original, family, work, first.answers, steps))
        except Exception as error:  # the libraries that convert graphs raise almost anything
            failed[method.name] = _reason(error)
            steps.total -= asked.rounds
    curve = _time(tried, failed, family, sample, work, asked, steps)
    measurements = tuple(_measurement(each, original, machine_name()) for each in tried)
    return Optimised(measurements, failed, skipped, _as_timed(curve, measurements))


def _original(original: Original, family: Family, work: Work, steps: _Steps) -> _Tried:
    steps.begin("original: judge")
    item = work.item("original", 1, family.suffix)
    answers = item.answers(lambda: family.judge(original.file))
    steps.end("original: judge")
    accuracy = family.accuracy(answers, answers)
    return _Tried(original.variant.name, "", item, original.file, answers, accuracy)


def _made(method: Method, original: Original, family: Family, work: Work, exact: Tensors, steps: _Steps) -> _Tried:
    item = work.item(method.name, method.version, family.suffix)
    steps.begin(f"{method.name}: make")
    try:
        with without_advice():
            file = item.make(lambda target: method.make(original, target))
    finally:
        steps.end(f"{method.name}: judge", method.steps)
    try:
        answers = item.answers(lambda: _judge(family, file))
        accuracy = family.accuracy(exact, answers)
    finally:
        steps.end(f"{method.name}: judge")
    if accuracy.loss > _MOST_LOSS:
        raise ModelFailedError(
            f"it loses {accuracy.loss:.0%} of the original's {accuracy.metric}: that is another model"
        )
    return _Tried(method.name, method.what, item, file, answers, accuracy)


def _judge(family: Family, file: Path) -> Tensors:
    family.check(file)
    return family.judge(file)


def _time(
    tried: list[_Tried], failed: dict[str, str], family: Family, sample: LabelledSample, work: Work, asked: Asked,
    steps: _Steps,
) -> tuple[Point, ...]:  # fmt: skip
    """Fill in the rounds; whoever cannot be timed leaves `tried` for `failed`. The curve of the cascade that joined."""
    curve: tuple[Point, ...] = ()
    for number in range(asked.rounds):
        # Everybody has another place in each round.
        turn = number % len(tried)
        for each in [*tried[turn:], *tried[:turn]]:
            _round(each, number, tried, failed, family, steps, asked)
        if number == 0 and asked.most_drop is not None and isinstance(family, TensorFamily) and family.fitted:
            fitted = _cascade(tried, family, sample, asked.most_drop)
            if fitted is not None:
                curve = fitted.curve
                tried.append(_joined(fitted, family, tried[0].answers, work))
                steps.total += max(asked.rounds - 1, 1)
                if asked.rounds == 1:
                    _round(tried[-1], 0, tried, failed, family, steps, asked)
    return curve


def _as_timed(curve: Sequence[Point], measurements: Sequence[Measurement]) -> tuple[Point, ...]:
    """The curve with times of all rounds, where it was drawn after the first."""
    variants = {each.variant.name: each.variant for each in measurements}
    cascade = variants[CASCADE].cascade if CASCADE in variants else None
    if cascade is None:
        return ()
    times = {name: each.measured.p50_ms for name, each in variants.items() if each.measured is not None}
    small, full = times[cascade.small], times[cascade.full]
    return tuple(dataclasses.replace(point, ms=small + (1 - point.share) * full) for point in curve)


def _round(
    each: _Tried, number: int, tried: list[_Tried], failed: dict[str, str], family: Family, steps: _Steps, asked: Asked
) -> None:
    what = f"{each.name}: time, round {number + 1} of {asked.rounds}"
    steps.begin(what)
    try:
        each.rounds.append(each.item.round(number, lambda: _time_one(each, tried[0], tried, family)))
    except AirserveError as error:
        if each is tried[0]:
            raise
        tried.remove(each)
        failed[each.name] = _reason(error)
        steps.total -= asked.rounds - number - 1
    steps.end(what)


def _time_one(each: _Tried, full: _Tried, tried: Sequence[_Tried], family: Family) -> Round:
    if each.cascade is None:
        return family.time(each.file)
    assert isinstance(family, TensorFamily), "they alone have cascades"  # noqa: S101
    small = next(other for other in tried if other.name == each.cascade.small)
    return family.time_cascade(small.file, full.file, each.cascade)


def _cascade(tried: Sequence[_Tried], family: TensorFamily, sample: LabelledSample, most_drop: float) -> Fitted | None:
    """The cheapest cascade of the original and a variant that is faster, where it would save a tenth or more."""
    manifest = family.original.manifest
    full = _member(tried[0])
    truth = _truth(sample, classes(manifest, full.answers))
    if truth is None:
        return None
    smaller = [member for each in tried[1:] if (member := _member(each)).ms < _CHEAPER * full.ms]
    found = [fit(manifest, each, full, family.fitted, truth, most_drop) for each in smaller]
    best = cheapest([each for each in found if each is not None])
    return best if best is not None and best.ms < _CHEAPER * full.ms else None


def _member(each: _Tried) -> Member:
    return Member(each.name, each.answers, float(np.median(each.rounds[0].latencies_ms)))


def _truth(sample: LabelledSample, full: Array | None) -> Array | None:
    """The classes of all rows, as they were judged: labels, or what the original says."""
    if sample.truth is None or sample.calibration_truth is None:
        return full
    return np.concatenate([sample.calibration_truth, sample.truth])


def _joined(fitted: Fitted, family: TensorFamily, exact: Tensors, work: Work) -> _Tried:
    cascade = fitted.cascade
    # Another threshold is another cascade, whose times are others.
    key = work_key([msgspec.json.encode(cascade)])
    item = work.item(f"{CASCADE}-{key}", 1, "")
    accuracy = family.accuracy(exact, fitted.answers)
    method = f"{cascade.small} where it is sure, else {cascade.full}"
    return _Tried(CASCADE, method, item, Path(), fitted.answers, accuracy, cascade=cascade)


def _measurement(each: _Tried, original: Original, machine: str) -> Measurement:
    file = None if each.cascade is not None else each.file
    if not each.method:
        base = original.variant
    else:
        name = "" if file is None else f"{each.name}{file.suffix}"
        base = Variant(each.name, name, 0 if file is None else file.stat().st_size)
    accuracy = each.accuracy
    variant = msgspec.structs.replace(
        base,
        # Down: a floor that is kept on paper is kept in truth.
        accuracy=float(np.floor(accuracy.value * 1e6) / 1e6),
        metric=accuracy.metric,
        low=round(accuracy.low, 6),
        high=round(accuracy.high, 6),
        rows=accuracy.rows,
        method=each.method,
        measured=measured(each.rounds, machine),
        cascade=each.cascade,
    )
    return Measurement(variant, accuracy, file)


def _reason(error: Exception) -> str:
    if isinstance(error, AirserveError):
        return error.message
    line = (str(error).strip().splitlines() or [""])[0][:200]
    return f"{type(error).__name__}: {line}" if line else type(error).__name__
