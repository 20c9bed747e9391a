"""The package of a tail: its weights, the head's graph for devices, and the codecs of the features between them."""

from __future__ import annotations

from pathlib import Path

from airserve.codecs.codec import is_lossless
from airserve.models.manifest import CodecEntry, Manifest, SplitOf, Tensor, Variant
from airserve.models.names import check_name
from airserve.models.package import write_package
from airserve.models.splitting.study import Cut, Study, halves

HEAD = "head.onnx"
WEIGHTS = "model.onnx"


def tail_name(model: str, cut: Cut) -> str:
    """What the tail of `model` is published as. Raises `InvalidInputError` where the name would be too long."""
    return check_name(f"{model}.tail-{cut.number}")


def package_tail(folder: Path, whole: Manifest, address: str, measured: Study, cut: Cut, floor: float) -> Path:
    """Write the package of the tail at `cut` to `folder`.

    `whole` is the manifest of the model and `address` that of its package. The tail takes the features and answers as
    the whole does; where that has a `[vision]` section, the tail keeps it: the head's bundle does the first half of the
    step on the device, the tail the second. Codecs below the accuracy `floor` are left out.
    """
    head, tail = (part.SerializeToString() for part in halves(measured.model, cut))
    lossy = [each for each in cut.codings if each.accuracy >= floor and not is_lossless(each.codec, "FP32")]
    exact = max((each.accuracy for each in cut.codings), default=None)
    manifest = Manifest(
        name=tail_name(whole.name, cut),
        engine=whole.engine,
        inputs=(Tensor(cut.tensor, "FP32", (-1, *cut.shape[1:])),),
        outputs=whole.outputs,
        variants=(Variant("original", WEIGHTS, len(tail)),),
        max_batch=whole.max_batch,
        default_deadline_ms=whole.default_deadline_ms,
        labels=whole.labels,
        description=f"The tail of {whole.name}, cut at {cut.tensor}",
        licence=whole.licence,
        deterministic=whole.deterministic,
        vision=whole.vision,
        privacy=whole.privacy,
        codecs=tuple(
            CodecEntry(cut.tensor, each.codec, _down(each.accuracy), measured.metric, round(each.bytes, 1))
            for each in lossy
        ),
        split=SplitOf(
            whole.name, address, HEAD, cut.tensor, round(cut.head_share, 4),
            None if exact is None else _down(exact), None if exact is None else measured.metric,
        ),
    )  # fmt: skip
    return write_package(folder, manifest, {WEIGHTS: tail, HEAD: head})


def _down(accuracy: float) -> float:
    # Never up: a floor that is kept on paper is kept in truth.
    return int(accuracy * 1e6) / 1e6
