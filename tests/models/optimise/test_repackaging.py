"""What goes into the new manifest, what stays, and what answers."""

from __future__ import annotations

import msgspec
import pytest

from airserve.core.errors import InvalidInputError
from airserve.engines.options import Sealed
from airserve.models.manifest import Manifest, SplitOf, Tensor, Variant, check_manifest
from airserve.models.optimise.families import check_optimisable
from airserve.models.optimise.family import Accuracy
from airserve.models.optimise.method import Original
from airserve.models.optimise.optimisation import Measurement, Optimised
from airserve.models.optimise.repackaging import served_names, serving, with_variants

ACCURACY = Accuracy("top-1", 1.0, 0.9, 1.0, 100, 0.0, 0.0, 0.1)
FULL = Variant("original", "model.onnx", 9)
SLIM, OLD = Variant("slim", "slim.onnx", 8, method="slimmed"), Variant("int4", "int4.onnx", 3, method="four bits")
DEVICE = Variant("device", "device.onnx", 4)
MANIFEST = Manifest(
    name="m",
    engine="onnx",
    inputs=(Tensor("x", "FP32", (-1, 2)),),
    outputs=(Tensor("y", "FP32", (-1, 3)),),
    variants=(FULL, OLD, DEVICE),
    max_batch=8,
    device="device",
    serve=("int4",),
    accuracy_floor=0.9,
)
FOUND = Optimised(tuple(Measurement(each, ACCURACY, None) for each in (FULL, SLIM)), {}, {})


def test_made_variants_take_the_place_of_those_made_before_and_others_stay() -> None:
    manifest = check_manifest(with_variants(MANIFEST, FOUND, ["slim"]))
    assert [each.name for each in manifest.variants] == ["original", "slim", "device"]
    assert (manifest.serve, manifest.accuracy_floor, manifest.device) == ((), None, "device")
    assert [each.name for each in with_variants(MANIFEST, FOUND, []).variants] == ["original", "device"]


def test_what_devices_fetch_stays_even_if_a_method_made_it() -> None:
    manifest = with_variants(msgspec.structs.replace(MANIFEST, device="int4"), FOUND, ["slim"])
    assert [each.name for each in manifest.variants] == ["original", "slim", "int4", "device"]


def test_a_service_answers_with_what_was_chosen() -> None:
    manifest = with_variants(MANIFEST, FOUND, ["slim"])
    assert serving(manifest, []).served == (FULL,)
    assert serving(manifest, ["slim"]).served == (SLIM,)
    assert served_names(manifest, ["slim", "original"]) == ("original", "slim")
    with pytest.raises(InvalidInputError, match="names 'int9', which is no variant; there are original, slim, device"):
        served_names(manifest, ["int9"])


def test_a_language_model_answers_with_its_first_variant_and_the_original_is_still_known() -> None:
    manifest = serving(msgspec.structs.replace(with_variants(MANIFEST, FOUND, ["slim"]), engine="llama"), ["slim"])
    assert [each.name for each in manifest.variants] == ["slim", "original", "device"]
    assert Original(None, manifest).variant.name == "original"  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="answers with one variant"):
        serving(manifest, ["slim", "original"])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"engine": "python"}, "models of the engines onnx, llama are optimised; 'm' is of python"),
        ({"sealed": Sealed()}, "'m' is sealed"),
        ({"split": SplitOf("whole", "0" * 64, "head.onnx", "x", 0.5)}, "'m' is the tail of a split"),
    ],
)
def test_what_has_no_weights_of_its_own_to_make_smaller_is_refused(changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(InvalidInputError, match=sentence):
        check_optimisable(msgspec.structs.replace(MANIFEST, **changes))
