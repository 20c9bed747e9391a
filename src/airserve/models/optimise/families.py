"""Which family a model is of, and all that its variants are made from and judged on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnxruntime

from airserve.core.errors import InvalidInputError
from airserve.models.manifest import Manifest
from airserve.models.onnx_limits import OnnxLimits
from airserve.models.optimise.family import Family
from airserve.models.optimise.labelled_sample import MOST_ROWS, LabelledSample, read_labelled, read_training
from airserve.models.optimise.machine import cores, machine_name
from airserve.models.optimise.method import Original
from airserve.models.optimise.methods import ENGINES
from airserve.models.optimise.tensor_family import TensorFamily
from airserve.models.optimise.work import digest_of, work_key

_LANGUAGE = "llama"


@dataclass(frozen=True, slots=True)
class Given:
    """What a person gave: see the command. `rows` are tokens for a language model; None are the usual ones."""

    data: Path
    labels: Path | None = None
    train: Path | None = None
    rows: int | None = None
    threads: int | None = None
    seconds: float = 1.0


@dataclass(frozen=True, slots=True)
class Subject:
    """A model on the table. `key` stands for everything that results depend on, but for the methods."""

    original: Original
    sample: LabelledSample
    family: Family
    key: str


def subject_of(folder: Path, manifest: Manifest, address: str, given: Given, limits: OnnxLimits) -> Subject:
    """Read what was given for the package in `folder`. Raises `InvalidInputError` and `NotFoundError`."""
    check_optimisable(manifest)
    training = None if given.train is None else read_training(given.train, manifest)
    context = [address, onnxruntime.__version__, machine_name(), str(given.threads), str(given.seconds)]
    if manifest.engine == _LANGUAGE:
        return _language(Original(folder, manifest, training=training, limits=limits), given, context)
    sample = read_labelled(given.data, manifest, given.labels, most=given.rows or MOST_ROWS)
    original = Original(folder, manifest, sample.calibration, training, limits)
    family = TensorFamily(original, sample.calls, sample.truth, threads=given.threads or 1, seconds=given.seconds)
    learnt = [] if training is None else [training.inputs]
    digests = [
        digest_of(sample.calibration, sample.calibration_truth),
        digest_of(sample.calls, sample.truth),
        digest_of(learnt, None if training is None else training.labels),
    ]
    return Subject(original, sample, family, work_key([*context, *digests]))


def check_optimisable(manifest: Manifest) -> None:
    """Refuse what has no weights that could be made smaller. Raises `InvalidInputError`."""
    if manifest.engine not in ENGINES:
        raise InvalidInputError(
            f"models of the engines {', '.join(ENGINES)} are optimised; '{manifest.name}' is of {manifest.engine}"
        )
    if manifest.sealed is not None:
        raise InvalidInputError(f"'{manifest.name}' is sealed; optimise it before, and seal the package that comes out")
    if manifest.split is not None:
        raise InvalidInputError(f"'{manifest.name}' is the tail of a split; optimise the whole model, and split that")


def _language(original: Original, given: Given, context: list[str]) -> Subject:
    from airserve.models.optimise.language_family import LanguageFamily, read_text

    if given.labels is not None:
        raise InvalidInputError("--labels is for classifiers; a language model is judged by its perplexity on --data")
    text = read_text(given.data)
    threads = given.threads or cores()
    most = {} if given.rows is None else {"most": given.rows}
    family = LanguageFamily(original.manifest, text, threads=threads, **most)
    key = work_key([*context, text, str(given.rows)])
    return Subject(original, LabelledSample((), ()), family, key)
