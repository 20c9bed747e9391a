"""What a codec costs in accuracy, and how many bytes a row then has: measured on a sample, against uncoded answers.

Every row is coded by itself, as a device sends it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from airserve.codecs.codec import Codec, check_takes, is_lossless, parse
from airserve.codecs.frame import decode, encode
from airserve.core.call import Array, Tensors
from airserve.core.errors import InvalidInputError
from airserve.core.tensor import TensorSpec
from airserve.engines import Model
from airserve.models.manifest import CodecEntry, Manifest
from airserve.models.sample import batches_of

TOP_1, COSINE, RELATIVE = "top-1 agreement", "cosine", "1 - relative error"
TENSOR_CANDIDATES = (
    "fp16+zstd", "bf16+zstd", "int8+zstd", "int8c+zstd", "int4+ans", "int4c+ans", "int2c+ans", "topk:0.1+zstd"
)  # fmt: skip
PICTURE_CANDIDATES = ("webp:40", "webp:60", "webp:80", "jpeg:60", "jpeg:75", "jpeg:90")

Recode = Callable[[Array], tuple[Array, int]]
"""One coded tensor as the other side decodes it, and the bytes that it was."""


@dataclass(frozen=True, slots=True)
class Exact:
    """A sample, calls of one row each, and the model's answers to it, uncoded: batches of rows."""

    calls: Sequence[Tensors]
    answers: Sequence[Tensors]


def run_exact(model: Model, manifest: Manifest, calls: Sequence[Tensors]) -> Exact:
    """The answers to `calls`, which everything else is compared with."""
    return Exact(calls, run_calls(model, manifest, calls))


def run_calls(model: Model, manifest: Manifest, calls: Sequence[Tensors]) -> list[Tensors]:
    """The answers to `calls`, many rows at once where the model batches."""
    return [model.run(inputs) for inputs in batches_of(calls, manifest)]


def measure(model: Model, manifest: Manifest, exact: Exact, candidates: Sequence[str] | None) -> list[CodecEntry]:
    """Each candidate on each input and output that it is for; None are the usual ones.

    Raises `InvalidInputError` for a candidate that is for none of the tensors.
    """
    tensors = [parse(each) for each in (TENSOR_CANDIDATES if candidates is None else candidates)]
    pictures = [parse(each) for each in (PICTURE_CANDIDATES if candidates is None else candidates)]
    signature = manifest.signature
    entries = []
    for spec in signature.inputs:
        of_picture = manifest.vision is not None and spec.datatype == "BYTES"
        fitting = _fitting(pictures if of_picture else tensors, spec, of_picture=of_picture)
        entries += [_input(model, manifest, exact, spec, codec) for codec in fitting]
    for spec in signature.outputs:
        entries += [_output(manifest, exact, spec, codec) for codec in _fitting(tensors, spec, of_picture=False)]
    used = {entry.codec for entry in entries}
    if unused := [str(each) for each in tensors if candidates is not None and str(each) not in used]:
        raise InvalidInputError(f"codec {', '.join(unused)} is for no input and no output of this model")
    return entries


def _fitting(codecs: Iterable[Codec], spec: TensorSpec, *, of_picture: bool) -> list[Codec]:
    """Those for a tensor that lose something: lossless ones are always taken."""
    if of_picture:
        return [each for each in codecs if each.is_picture]
    return [each for each in codecs if _takes(each, spec.datatype) and not is_lossless(each, spec.datatype)]


def _takes(codec: Codec, datatype: str) -> bool:
    try:
        check_takes(codec, datatype)
    except InvalidInputError:
        return False
    return True


def _input(model: Model, manifest: Manifest, exact: Exact, spec: TensorSpec, codec: Codec) -> CodecEntry:
    recode = _picture_recode(manifest, codec) if codec.is_picture else partial(_tensor_recode, codec=codec)
    coded, sizes = [], []
    for call in exact.calls:
        array, size = recode(call[spec.name])
        coded.append({**call, spec.name: array})
        sizes.append(size)
    metric, accuracy = agreement(manifest, run_calls(model, manifest, coded), exact.answers)
    return CodecEntry(spec.name, str(codec), _rounded(accuracy), metric, round(float(np.mean(sizes)), 1))


def _output(manifest: Manifest, exact: Exact, spec: TensorSpec, codec: Codec) -> CodecEntry:
    batches, sizes = [], []
    for answers in exact.answers:
        array = answers[spec.name]
        rows = [array[at : at + 1] for at in range(len(array))] if manifest.max_batch else [array]
        coded = [_tensor_recode(row, codec) for row in rows]
        batches.append(np.concatenate([row for row, _ in coded]) if manifest.max_batch else coded[0][0])
        sizes += [size for _, size in coded]
    pairs = [(batch, answers[spec.name]) for batch, answers in zip(batches, exact.answers, strict=True)]
    metric = metric_of(manifest, spec.name, pairs[0][1])
    return CodecEntry(spec.name, str(codec), _rounded(_mean(metric, pairs)), metric, round(float(np.mean(sizes)), 1))


def _tensor_recode(array: Array, codec: Codec) -> tuple[Array, int]:
    frame = encode(array, codec)
    return decode(frame, max_bytes=array.nbytes), len(frame)


def _picture_recode(manifest: Manifest, codec: Codec) -> Recode:
    from airserve.codecs.pictures import recode

    assert manifest.vision is not None, "pictures are the input of a [vision] model alone"  # noqa: S101
    vision = manifest.vision

    def of(array: Array) -> tuple[Array, int]:
        # As devices do it: they know the sizes that the model wants, and how it scales.
        picture = recode(
            array.item(),
            resize=vision.resize,
            size=vision.size,
            codec=codec,
            max_pixels=vision.max_pixels,
            resample=vision.resample,
        )
        coded = np.empty(array.shape, dtype=object)
        coded[...] = picture
        return coded, len(picture)

    return of


def agreement(manifest: Manifest, answers: Sequence[Tensors], exact: Sequence[Tensors]) -> tuple[str, float]:
    """How far `answers` are those of `exact`, 1.0 where they are the same; with the name of the metric.

    Classifiers are held to their best class, embeddings to their direction, others to the values of all outputs, of
    which the worst counts.
    """
    name = deciding_output(manifest, exact[0])
    names = [name] if name is not None else list(exact[0])
    found = []
    for each in names:
        pairs = [(batch[each], wanted[each]) for batch, wanted in zip(answers, exact, strict=True)]
        metric = metric_of(manifest, each, pairs[0][1])
        found.append((_mean(metric, pairs), metric))
    accuracy, metric = min(found)
    return metric, accuracy


def deciding_output(manifest: Manifest, answers: Tensors) -> str | None:
    """The output that says which class it is, or is the embedding; None where all of them count."""
    if manifest.vision is not None:
        return "index"
    if manifest.text is not None:
        return "embedding"
    classes = [name for name, array in answers.items() if _is_scores(manifest, array)]
    return classes[0] if classes else None


def _is_scores(manifest: Manifest, array: Array) -> bool:
    return array.dtype.kind == "f" and array.ndim >= 2 and array.shape[-1] == len(manifest.labels) > 1


def metric_of(manifest: Manifest, name: str, array: Array) -> str:
    """What answers `array` of the output `name` are compared by: `TOP_1`, `COSINE` or `RELATIVE`."""
    if (manifest.vision is not None and name == "index") or _is_scores(manifest, array):
        return TOP_1
    return COSINE if manifest.text is not None and name == "embedding" else RELATIVE


def _mean(metric: str, pairs: Sequence[tuple[Array, Array]]) -> float:
    """The agreement of all batches, each counting by its rows."""
    rows = [max(len(np.atleast_1d(exact)), 1) for _, exact in pairs]
    values = [_agreement(metric, answers, exact) for answers, exact in pairs]
    return float(np.average(values, weights=rows))


def _agreement(metric: str, answers: Array, exact: Array) -> float:
    if answers.shape != exact.shape:
        return 0.0
    if metric == TOP_1:
        best = best_classes(answers), best_classes(exact)
        return float(np.mean(best[0] == best[1]))
    if exact.dtype.kind not in "fiu":
        return float(np.mean(answers == exact))
    coded, wanted = answers.astype(np.float64), exact.astype(np.float64)
    if metric == COSINE:
        lengths = np.linalg.norm(coded, axis=-1) * np.linalg.norm(wanted, axis=-1)
        return float(np.mean((coded * wanted).sum(-1) / np.where(lengths > 0, lengths, 1.0)))
    scale = float(np.abs(wanted).sum())
    error = float(np.abs(coded - wanted).sum())
    return 1.0 if error == 0 else max(0.0, 1.0 - error / scale) if scale > 0 else 0.0


def best_classes(array: Array) -> Array:
    """Of scores the highest; of the indices of the best classes, best first, the first."""
    return np.asarray(array.argmax(-1) if array.dtype.kind == "f" else array.reshape(len(array), -1)[:, 0])


def _rounded(accuracy: float) -> float:
    # Down: a floor that is kept on paper is kept in truth.
    return float(np.floor(accuracy * 1e6) / 1e6)
