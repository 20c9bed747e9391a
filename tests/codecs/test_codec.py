from __future__ import annotations

import pytest

from airserve.codecs.codec import Codec, is_lossless, parse
from airserve.core.errors import InvalidInputError
from airserve.core.tensor import NUMPY_OF
from tests.codecs.tensors_for_tests import CODECS


@pytest.mark.parametrize("codec", [*CODECS, Codec("webp", quality=60), Codec("jpeg", quality=100)], ids=str)
def test_a_name_means_its_codec(codec: Codec) -> None:
    assert parse(str(codec)) == codec


@pytest.mark.parametrize(
    ("text", "canonical"), [("topk:0.10", "topk:0.1"), ("topk:1.0+lz4", "topk:1+lz4"), ("fp16+none", "fp16")]
)
def test_names_have_one_canonical_form(text: str, canonical: str) -> None:
    assert str(parse(text)) == canonical


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is no codec"),
        ("INT8", "is no codec"),
        ("int8+", "is no codec"),
        ("x" * 5000, "'x{40}' is no codec"),
        ("int9", "'int9' is none of fp32, fp16"),
        ("int8+gzip", "'gzip' is none of zstd"),
        ("int8:3", "'int8' takes no number"),
        ("topk", "above 0 and at most 1"),
        ("topk:0", "above 0 and at most 1"),
        ("topk:1.5", "above 0 and at most 1"),
        ("fp16+ans", "at most 8 bits; use fp16"),
        ("webp", "quality, 1 to 100"),
        ("webp:0", "quality, 1 to 100"),
        ("jpeg:85.5", "quality, 1 to 100"),
        ("jpeg:85+zstd", "compressed already"),
    ],
)
def test_a_wrong_name_is_refused_with_what_is_wrong(text: str, says: str) -> None:
    with pytest.raises(InvalidInputError, match=says):
        parse(text)


def test_only_the_identity_is_lossless_for_every_datatype() -> None:
    assert all(is_lossless(f"fp32+{stage}", datatype) for stage in ("zstd", "ans") for datatype in NUMPY_OF)
    assert [name for name in NUMPY_OF if is_lossless("fp16+zstd", name)] == ["FP16"]
    assert not any(is_lossless(codec, "FP32") for codec in CODECS if codec.lossy != "fp32")
