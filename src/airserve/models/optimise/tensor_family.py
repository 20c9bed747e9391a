"""Models of the engine onnx: tensors in, tensors out, with or without a step before them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from airserve.core.call import Array, Tensors
from airserve.core.errors import InvalidInputError, ModelFailedError
from airserve.engines import Model, Source, load_model
from airserve.models.codec_accuracy import run_calls
from airserve.models.manifest import Cascade
from airserve.models.onnx_admission import admit
from airserve.models.optimise.accuracy import accuracy
from airserve.models.optimise.family import Accuracy, Round
from airserve.models.optimise.method import Original
from airserve.models.optimise.timing import framed, time_once
from airserve.models.optimise.timing_process import Job

_TIMED_CALLS = 32
_TRIED_CALLS = 4
_MOST_BYTES = 1 << 30


class TensorFamily:
    """Judges on `calls`, of one row each, those that calibrate left out; `truth` are their classes, where known.

    Times with `threads` threads a run, about `seconds` a round for single rows and as long for batches.
    """

    suffix = ".onnx"

    def __init__(
        self, original: Original, calls: Sequence[Tensors], truth: Array | None, *, threads: int, seconds: float
    ) -> None:
        self.original = original
        self.truth = truth
        self._calls = calls
        self._timed = framed(calls[:_TIMED_CALLS])
        self._threads = threads
        self._seconds = seconds
        manifest = original.manifest
        # A cascade is fitted on answers to the rows that nothing is measured on.
        self.fitted = len(original.calibration) if manifest.vision is not None or len(manifest.labels) > 1 else 0

    def check(self, file: Path) -> None:
        """Admitted as what is published is, then loaded and run on rows of the sample."""
        admit(file, self.original.limits)
        with closing(self._load(file)) as model:
            for answers in run_calls(model, self.original.manifest, self._calls[:_TRIED_CALLS]):
                self._check(answers)

    def judge(self, file: Path) -> Tensors:
        """Its answers: of the first `fitted` rows those to the calibration part, then those that are measured."""
        calls = [*self.original.calibration[: self.fitted], *self._calls]
        with closing(self._load(file)) as model:
            if len(calls) * _bytes_of(model.run(calls[0])) > _MOST_BYTES:
                raise InvalidInputError(f"the answers to {len(calls)} rows are more than 1 GiB; give fewer by --rows")
            batches = run_calls(model, self.original.manifest, calls)
        for answers in batches:
            self._check(answers)
        return self._together(batches)

    def accuracy(self, exact: Tensors, found: Tensors) -> Accuracy:
        """Of the measured rows alone."""
        exact, found = self.measured(exact), self.measured(found)
        return accuracy(self.original.manifest, exact, found, self.truth)

    def time(self, file: Path) -> Round:
        """One round of a variant."""
        return time_once(self._job(file))

    def time_cascade(self, small: Path, full: Path, cascade: Cascade) -> Round:
        """One round of two variants as one."""
        return time_once(self._job(small, full, cascade))

    def measured(self, answers: Tensors) -> Tensors:
        """The rows that accuracy is of."""
        return {name: array[self.fitted :] for name, array in answers.items()}

    def _job(self, file: Path, full: Path | None = None, cascade: Cascade | None = None) -> Job:
        return Job(
            folder=str(self.original.folder.resolve()),
            manifest=self.original.manifest,
            file=str(file.resolve()),
            full=None if full is None else str(full.resolve()),
            cascade=cascade,
            calls=self._timed,
            threads=self._threads,
            seconds=self._seconds,
        )

    def _load(self, file: Path) -> Model:
        manifest = self.original.manifest
        source = Source(
            folder=self.original.folder,
            # An absolute name: a variant is not in the package's folder yet, the tokenizer is.
            file=str(file.resolve()),
            signature=manifest.signature,
            labels=manifest.labels,
            vision=manifest.vision,
            text=manifest.text,
        )
        return load_model(manifest.engine, source, threads=self._threads)

    def _check(self, answers: Tensors) -> None:
        """Raises `ModelFailedError` for answers that are not of the original's form, or no numbers."""
        for spec in self.original.manifest.signature.outputs:
            array = answers[spec.name]
            if array.dtype != spec.dtype or not spec.accepts(array.shape):
                raise ModelFailedError(
                    f"output '{spec.name}' is {array.dtype} {list(array.shape)}, the original's {spec.datatype} "
                    f"{list(spec.shape)}"
                )
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise ModelFailedError(f"output '{spec.name}' has values that are no numbers (infinite or NaN)")

    def _together(self, batches: Sequence[Tensors]) -> Tensors:
        numbers = [name for name, array in batches[0].items() if array.dtype.kind in "fiub"]
        if not numbers:
            raise InvalidInputError("the model gives texts alone; variants are compared by numbers")
        join = np.concatenate if self.original.manifest.max_batch else np.stack
        try:
            return {name: np.asarray(join([answers[name] for answers in batches])) for name in numbers}
        except ValueError:
            raise InvalidInputError(
                "the model's answers have another shape for each row; give a sample of rows whose answers are alike"
            ) from None


def _bytes_of(answers: Tensors) -> int:
    return sum(array.nbytes for array in answers.values())
