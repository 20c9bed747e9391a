"""The manifest: what a package says of its model, as TOML and as the catalog keeps it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from airserve.core.errors import BadPackageError
from airserve.models.manifest import (
    CodecEntry,
    Manifest,
    SplitOf,
    Tensor,
    Variant,
    check_manifest,
    parse_manifest,
    render_manifest,
)

OLD = b"""{"name":"digits","engine":"onnx","inputs":[{"name":"x","datatype":"FP32","shape":[-1,64]}],
"outputs":[{"name":"y","datatype":"FP32","shape":[-1,10]}],
"variants":[{"name":"fp32","file":"model.onnx","size_bytes":9}],"max_batch":64}"""


def _manifest(**changes: Any) -> Manifest:
    given: dict[str, Any] = {
        "name": "digits",
        "engine": "onnx",
        "inputs": (Tensor("x", "FP32", (-1, 64)),),
        "outputs": (Tensor("y", "FP32", (-1, 10)),),
        "variants": (Variant("fp32", "model.onnx", 9), Variant("small", "small.onnx", 3, 0.98, "top-1")),
        "max_batch": 64,
    }
    return Manifest(**(given | changes))


def _split(**changes: Any) -> SplitOf:
    return msgspec.structs.replace(SplitOf("digits", "a" * 64, "head.onnx", "x", 0.25, 0.99, "top-1"), **changes)


def test_a_manifest_comes_back_from_its_document() -> None:
    manifest = _manifest(
        deterministic=True,
        device="small",
        codecs=(CodecEntry("x", "int8c+zstd", 0.995, "top-1", 123.5), CodecEntry("y", "fp16")),
        split=_split(),
    )
    assert parse_manifest(render_manifest(manifest)) == manifest


def test_what_the_catalog_stored_before_these_fields_existed_is_read_as_it_was() -> None:
    manifest = msgspec.json.decode(OLD, type=Manifest)
    assert check_manifest(manifest) is manifest
    assert (manifest.deterministic, manifest.device, manifest.codecs, manifest.split) == (False, None, (), None)


def test_what_nobody_said_is_not_written() -> None:
    document = render_manifest(_manifest())
    for field in (b"deterministic", b"device", b"codecs", b"split"):
        assert field not in document, field


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"device": "tiny"}, "device names the variant 'tiny'; there are fp32, small"),
        ({"engine": "python", "device": "small"}, "a device runs models of the engine onnx"),
        ({"codecs": (CodecEntry("z", "fp16"),)}, "a codec is listed for 'z', which is no input or output"),
        ({"codecs": (CodecEntry("x", "no codec"),)}, "'no codec' is no codec"),
        ({"codecs": (CodecEntry("x", "fp16"), CodecEntry("x", "fp16"))}, "codec 'fp16' of 'x' is listed 2 times"),
        ({"codecs": (CodecEntry("x", "fp16", float("nan")),)}, "the accuracy of codec 'fp16' is a finite number"),
        ({"codecs": (CodecEntry("x", "fp16", bytes=-1.0),)}, "the bytes of codec 'fp16' are 0 or more"),
        ({"codecs": (CodecEntry("x", "fp16"),) * 1001}, "a package lists at most 1000 codecs"),
        ({"split": _split(tensor="z")}, "[split] names the tensor 'z', which is no input"),
        ({"split": _split(address="abc")}, "[split] address is a SHA-256"),
        ({"split": _split(head="")}, "[split] names the whole model and the file of the head"),
        ({"split": _split(head_share=1.5)}, "[split] head_share is between 0 and 1"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_sentence(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadPackageError) as refusal:
        check_manifest(_manifest(**changes))
    assert sentence in refusal.value.message
