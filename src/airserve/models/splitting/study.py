"""All that is measured of a model before it is cut: its graph, times, the cuts, and what each costs on the wire."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from google.protobuf.message import DecodeError

from airserve.core.call import Tensors
from airserve.core.errors import BadPackageError
from airserve.engines.files import Files
from airserve.engines.session import Session
from airserve.models.manifest import Manifest
from airserve.models.splitting.answers import Answers
from airserve.models.splitting.codings import Coding, code_features
from airserve.models.splitting.cut_tensors import cut_tensors
from airserve.models.splitting.graph import Graph, read_graph
from airserve.models.splitting.halves import head_of, tail_of, tensor_info
from airserve.models.splitting.profile import Feature, Profile, features, profile, seconds_of
from airserve.models.splitting.sample import Sample
from airserve.models.splitting.whole import RAW, Uploads, uploads

FEATURE_CODECS = (RAW, "int8c+zstd", "int4c+ans", "int2c+ans", "topk:0.1+zstd")
_CHUNK = 8


@dataclass(frozen=True, slots=True)
class Cut:
    """One place to cut, numbered in the order of the graph.

    `shape` is that of one row. `head_s` and `tail_s` are seconds of one core here for one row, from the profile; of the
    two halves themselves once something was coded there. `codings` is empty where that could not pay.
    """

    number: int
    tensor: str
    shape: tuple[int, ...]
    head_s: float
    tail_s: float
    codings: tuple[Coding, ...] = ()

    @property
    def values(self) -> int:
        """How many values the features of a row are."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def head_share(self) -> float:
        """The head's part of the time, 0 to 1."""
        return self.head_s / (self.head_s + self.tail_s)


@dataclass(frozen=True, slots=True)
class Study:
    """A measured model; `accuracy` in every coding is in the unit of `metric`, over so many `rows`."""

    model: onnx.ModelProto
    graph: Graph
    profile: Profile
    features: dict[str, Feature]
    uploads: Uploads
    cuts: tuple[Cut, ...]
    metric: str
    rows: int


def study(
    manifest: Manifest,
    files: Files,
    read: Callable[[tuple[str, ...]], Sample],
    promising: Callable[[Study, Cut], bool],
    codecs: Sequence[str] = FEATURE_CODECS,
) -> Study:
    """Measure the model of a package, whose sample `read` gives for the inputs of the graph.

    `codecs` are tried at the cuts that `promising` says yes to, on a study without any coded. Raises `BadPackageError`
    for a model that cannot be cut.
    """
    _check(manifest)
    model = _load(files.read(manifest.variants[0].file))
    graph = read_graph(model)
    places = cut_tensors(graph)
    if not places:
        raise BadPackageError(
            f"'{manifest.name}' has no place to cut: everywhere between its inputs and outputs several tensors cross"
        )
    sample = read(graph.inputs)
    whole = Answers(model, manifest)
    exact = whole.to(sample.inputs)
    metric, _ = whole.compared(sample.inputs, exact)
    times = profile(model, sample.part(0, 1))
    inner = [name for operation in graph.operations for name in operation.outputs if name not in graph.outputs]
    shapes = features(model, inner, sample.part(0, 1), sample.part(0, 2))
    cuts = tuple(_cuts(graph, times, shapes, places))
    sent = uploads(whole, manifest.vision, sample, exact, codecs)
    whole.close()
    plain = Study(model, graph, times, shapes, sent, cuts, metric, sample.rows)
    wanted = (cut for cut in cuts if promising(plain, cut))
    coded = {cut.number: _coded(plain, cut, manifest, sample, exact, codecs) for cut in wanted}
    return dataclasses.replace(plain, cuts=tuple(coded.get(cut.number, cut) for cut in cuts))


def halves(model: onnx.ModelProto, cut: Cut) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """Head and tail of the model at a cut."""
    info = tensor_info(cut.tensor, onnx.TensorProto.FLOAT, cut.shape)
    return head_of(model, info), tail_of(model, info)


def _check(manifest: Manifest) -> None:
    if manifest.engine != "onnx":
        raise BadPackageError(f"only models of the engine onnx are split; '{manifest.name}' is of {manifest.engine}")
    if manifest.text is not None:
        raise BadPackageError(
            f"'{manifest.name}' takes texts: a text is shorter than any of its features, and the attention mask "
            "crosses every cut beside them; call it as it is"
        )
    if manifest.sealed is not None or manifest.split is not None:
        raise BadPackageError(
            f"'{manifest.name}' is {'sealed' if manifest.sealed else 'a tail itself'}; it is not split"
        )
    if manifest.max_batch < 1:
        raise BadPackageError(f"'{manifest.name}' does not batch; a model is split where its first axis is free")


def _load(content: bytes) -> onnx.ModelProto:
    try:
        return onnx.load_model_from_string(content)
    except DecodeError:
        raise BadPackageError("the weights are no ONNX model") from None


def _cuts(graph: Graph, times: Profile, shapes: dict[str, Feature], places: Sequence[str]) -> Iterator[Cut]:
    """The places where features are float, a row each, and no group of operations that run as one is torn."""
    kept = [name for name in places if name in shapes and name in times.whole_groups]
    for number, tensor in enumerate(kept, 1):
        head_s = sum(times.operation_s.get(name, 0.0) for name in graph.before(tensor))
        yield Cut(number, tensor, shapes[tensor].shape, head_s, max(times.total_s - head_s, 0.0))


def _coded(
    plain: Study, cut: Cut, manifest: Manifest, sample: Sample, exact: Sequence[Tensors], codecs: Sequence[str]
) -> Cut:
    head, tail = halves(plain.model, cut)
    session = Session(head.SerializeToString(), threads=1, name="the head")
    rows = np.concatenate([
        session.run(sample.part(start, start + _CHUNK), [cut.tensor])[cut.tensor]
        for start in range(0, sample.rows, _CHUNK)
    ])  # fmt: skip
    session.close()
    answers = Answers(tail, manifest)
    codings = code_features(answers, cut.tensor, rows, exact, codecs)
    answers.close()
    head_s, tail_s = seconds_of(head, sample.part(0, 1)), seconds_of(tail, {cut.tensor: rows[:1]})
    return dataclasses.replace(cut, head_s=head_s, tail_s=tail_s, codings=codings)
