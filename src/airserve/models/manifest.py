"""`airserve.toml`: what a package says of its model."""

from __future__ import annotations

from typing import Any

import msgspec
import tomli_w

from airserve.core.errors import BadPackageError
from airserve.core.tensor import NUMPY_OF, Signature, TensorSpec
from airserve.engines import options
from airserve.models.engine_sections import language_problems, python_problems, sealed_problems, upstream_problems
from airserve.models.link_sections import link_problems
from airserve.models.names import check_name
from airserve.models.steps import step_problems
from airserve.models.variant_sections import variant_problems

FILE_NAME = "airserve.toml"
DEFAULT_MAX_BATCH = 64
_MAX_AXES = 16


class Measured(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """What a variant cost on the machine that measured it, on `threads` threads.

    `p50_ms` and `p99_ms` are of one row alone, `rows_per_s` of batches of `best_batch` rows; `memory_bytes` is what the
    process grew by when it was loaded and run, `energy_mj` (millijoules a row) is there where the machine tells it.
    """

    machine: str
    threads: int
    p50_ms: float
    p99_ms: float
    best_batch: int
    rows_per_s: float
    memory_bytes: int
    energy_mj: float | None = None


class Cascade(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Two variants as one: `small` answers the rows of which it is sure, `full` the others.

    Sure is a row whose highest probability, softmax of the scores over `temperature`, is at least `threshold`; `share`
    of the sample were, 0 to 1.
    """

    small: str
    full: str
    threshold: float
    temperature: float
    share: float


class Variant(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One set of weights in the package, with what was measured of it; `accuracy` is in the unit of `metric`.

    `low` and `high` are the ends of its 95 % confidence interval over `rows` rows of a sample; `method` says how it was
    made. One with a `cascade` has no file of its own: `file` is empty.
    """

    name: str
    file: str
    size_bytes: int
    accuracy: float | None = None
    metric: str | None = None
    low: float | None = None
    high: float | None = None
    rows: int | None = None
    method: str = ""
    measured: Measured | None = None
    cascade: Cascade | None = None


class Tensor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One input or output as the manifest writes it; -1 in `shape` is a free axis, the first being the batch."""

    name: str
    datatype: str
    shape: tuple[int, ...]


class CodecEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A codec that the model takes for its input, or gives its output in, with what it was measured to cost.

    `tensor` names the input or output; `accuracy`, in the unit of `metric`, compares answers with it to those without,
    and `bytes` is the mean size of one coded row.
    """

    tensor: str
    codec: str
    accuracy: float | None = None
    metric: str | None = None
    bytes: float | None = None


class SplitOf(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """`[split]`: the model is the tail of another, whose head a device runs.

    `model` and `address` (the SHA-256 of its package) say of which; `head` is the file of this package with the head,
    an ONNX graph; `tensor` is the input of this model that the head gives. `head_share` is the part of the whole
    model's time that the head takes, 0 to 1; `accuracy`, in the unit of `metric`, is that of head and tail together.
    """

    model: str
    address: str
    head: str
    tensor: str
    head_share: float
    accuracy: float | None = None
    metric: str | None = None


class Privacy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the rows that a model was trained on are protected: (ε, δ), for adding or removing one of `rows` rows.

    `noise` is the noise multiplier and `clip` the longest gradient of one row, as in DP-SGD (Abadi et al., 2016).
    """

    epsilon: float
    delta: float
    clip: float
    noise: float
    sampling_rate: float
    steps: int
    rows: int
    mechanism: str = "DP-SGD"
    accountant: str = ""


ITSELF = Variant("", "", 0)
"""Of a package without variants, such as one whose model is elsewhere: the model itself."""


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """The manifest. `max_batch` is the most rows of one run, 0 for a model that does not batch.

    `columns` names the columns of the only input, for callers that send rows by name. `deterministic` says that the
    same inputs always give the same outputs; `device` names the variant that a device may fetch and run itself;
    `codecs` are the lossy codecs that the model was measured with. `serve` names the variants that a service answers
    with, the first of `variants` alone where it is empty, and `accuracy_floor` is what none of them may be below.
    """

    name: str
    engine: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    variants: tuple[Variant, ...] = ()
    max_batch: int = 0
    default_deadline_ms: int | None = None
    labels: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    description: str = ""
    licence: str = ""
    deterministic: bool = False
    device: str | None = None
    serve: tuple[str, ...] = ()
    accuracy_floor: float | None = None
    codecs: tuple[CodecEntry, ...] = ()
    split: SplitOf | None = None
    privacy: Privacy | None = None
    vision: options.Vision | None = None
    text: options.Text | None = None
    language: options.Language | None = None
    upstream: options.Upstream | None = None
    python: options.Python | None = None
    sealed: options.Sealed | None = None

    @property
    def signature(self) -> Signature:
        """What the model takes and gives, for those who serve it."""
        return Signature(
            tuple(TensorSpec(each.name, each.datatype, each.shape) for each in self.inputs),
            tuple(TensorSpec(each.name, each.datatype, each.shape) for each in self.outputs),
            self.max_batch,
        )

    def variant(self, name: str) -> Variant | None:
        """The variant of that name; None where there is none."""
        return next((each for each in self.variants if each.name == name), None)

    @property
    def served(self) -> tuple[Variant, ...]:
        """The variants that a service answers with, the most accurate first; one that was never measured is exact."""
        if not self.serve:
            return self.variants[:1]
        named = [each for each in self.variants if each.name in self.serve]
        return tuple(sorted(named, key=lambda each: 1.0 if each.accuracy is None else each.accuracy, reverse=True))

    @property
    def best(self) -> Variant:
        """The most accurate variant that is served; of a package without variants, the model itself."""
        return next(iter(self.served), ITSELF)


def tensor(spec: TensorSpec) -> Tensor:
    """A specification in the manifest's form."""
    return Tensor(spec.name, spec.datatype, spec.shape)


def parse_manifest(text: bytes) -> Manifest:
    """The manifest in the TOML document `text`. Raises `BadPackageError` naming the field that is wrong."""
    return check_manifest(read_manifest(text))


def read_manifest(text: bytes) -> Manifest:
    """As `parse_manifest`, for one that somebody else completes: each field is right, the whole is not checked."""
    try:
        return msgspec.toml.decode(text, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadPackageError(f"{FILE_NAME}: {error}") from None


def check_manifest(manifest: Manifest) -> Manifest:
    """`manifest` itself, if it makes sense; raises `BadPackageError` otherwise."""
    check_name(manifest.name)
    problems = list(_problems(manifest))
    if problems:
        raise BadPackageError(f"{FILE_NAME}: {'; '.join(problems)}")
    return manifest


def render_manifest(manifest: Manifest) -> bytes:
    """The TOML document of `manifest`; `parse_manifest` gives it back."""
    document: dict[str, Any] = msgspec.to_builtins(manifest)
    return tomli_w.dumps(document).encode()


def _problems(manifest: Manifest) -> list[str]:
    problems = []
    if not manifest.inputs or not manifest.outputs:
        problems.append("a model has at least one input and one output")
    if not manifest.variants and manifest.engine != "openai":
        problems.append("a package has at least one variant with its weights")
    for kind, tensors in (("input", manifest.inputs), ("output", manifest.outputs)):
        names = [each.name for each in tensors]
        if len(set(names)) != len(names):
            problems.append(f"two {kind}s have the same name")
        problems += [problem for each in tensors for problem in _tensor_problems(kind, each)]
    if manifest.max_batch < 0:
        problems.append("max_batch is 0 or more")
    if manifest.max_batch > 0 and any(not each.shape or each.shape[0] != -1 for each in manifest.inputs):
        problems.append("max_batch needs a free first axis (-1) in every input")
    if manifest.default_deadline_ms is not None and manifest.default_deadline_ms <= 0:
        problems.append("default_deadline_ms is more than 0")
    problems += variant_problems(manifest)
    if manifest.columns and [each.shape[1:] for each in manifest.inputs] != [(len(manifest.columns),)]:
        problems.append(f"there are {len(manifest.columns)} columns, so the only input has the shape [-1, that many]")
    problems += step_problems(manifest)
    problems += link_problems(manifest)
    problems += python_problems(manifest.engine, manifest.python, [each.file for each in manifest.variants])
    problems += upstream_problems(manifest.engine, manifest.upstream)
    problems += language_problems(manifest.engine, manifest.language)
    problems += sealed_problems(manifest.engine, manifest.sealed)
    return problems


def _tensor_problems(kind: str, each: Tensor) -> list[str]:
    problems = []
    if not each.name:
        problems.append(f"an {kind} has no name")
    if each.datatype not in NUMPY_OF:
        problems.append(f"{kind} '{each.name}' has datatype '{each.datatype}'; use one of {', '.join(NUMPY_OF)}")
    if any(size < -1 for size in each.shape) or len(each.shape) > _MAX_AXES:
        problems.append(f"{kind} '{each.name}' has shape {list(each.shape)}; sizes are -1 (free) or more")
    return problems
