"""What makes no sense in what a package says for calls over a slow link: `device`, `[[codecs]]` and `[split]`."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from airserve.codecs.codec import parse
from airserve.core.errors import InvalidInputError

if TYPE_CHECKING:
    from airserve.models.manifest import CodecEntry, Manifest, SplitOf

_MAX_CODECS = 1000
_SHA256 = re.compile(r"[0-9a-f]{64}")


def link_problems(manifest: Manifest) -> Iterator[str]:
    """What is wrong, a sentence each."""
    if manifest.device is not None:
        yield from _device_problems(manifest, manifest.device)
    if len(manifest.codecs) > _MAX_CODECS:
        yield f"a package lists at most {_MAX_CODECS} codecs"
    tensors = {each.name for each in (*manifest.inputs, *manifest.outputs)}
    for entry in manifest.codecs:
        yield from _codec_problems(entry, tensors)
    pairs = Counter((entry.tensor, entry.codec) for entry in manifest.codecs)
    for (tensor, codec), count in pairs.items():
        if count > 1:
            yield f"codec '{codec[:40]}' of '{tensor}' is listed {count} times"
    if manifest.split is not None:
        yield from _split_problems(manifest, manifest.split)


def _device_problems(manifest: Manifest, device: str) -> Iterator[str]:
    variants = [each.name for each in manifest.variants if each.cascade is None]
    if device not in variants:
        yield f"device names the variant '{device[:80]}'; there are {', '.join(variants) or 'none'}"
    if manifest.engine != "onnx":
        yield f"a device runs models of the engine onnx, not of {manifest.engine}"
    if manifest.sealed is not None:
        yield "a sealed model stays where it is sealed; leave out device"


def _codec_problems(entry: CodecEntry, tensors: set[str]) -> Iterator[str]:
    if entry.tensor not in tensors:
        yield f"a codec is listed for '{entry.tensor[:80]}', which is no input or output"
    try:
        parse(entry.codec)
    except InvalidInputError as error:
        yield error.message
    if entry.accuracy is not None and not math.isfinite(entry.accuracy):
        yield f"the accuracy of codec '{entry.codec[:40]}' is a finite number"
    if entry.bytes is not None and not (math.isfinite(entry.bytes) and entry.bytes >= 0):
        yield f"the bytes of codec '{entry.codec[:40]}' are 0 or more"


def _split_problems(manifest: Manifest, split: SplitOf) -> Iterator[str]:
    if manifest.engine != "onnx":
        yield f"the tail of a split is a model of the engine onnx, not of {manifest.engine}"
    if split.tensor not in {each.name for each in manifest.inputs}:
        yield f"[split] names the tensor '{split.tensor[:80]}', which is no input"
    if not _SHA256.fullmatch(split.address):
        yield "[split] address is a SHA-256, as 64 hexadecimal digits"
    if manifest.sealed is not None:
        yield "the tail of a split is not sealed: the device sends it features in the open"
    if not split.model or not split.head:
        yield "[split] names the whole model and the file of the head"
    if not 0 <= split.head_share <= 1:
        yield "[split] head_share is between 0 and 1"
