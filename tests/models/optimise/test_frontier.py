"""What is dominated, and what is not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from airserve.models.manifest import Cascade, Manifest, Measured, Tensor, Variant
from airserve.models.optimise.frontier import front, not_dominated, size_of


def variant(name: str, accuracy: float, ms: float, size: int, cascade: Cascade | None = None) -> Variant:
    measured = Measured(
        machine="m", threads=1, p50_ms=ms, p99_ms=ms, best_batch=1, rows_per_s=1000 / ms, memory_bytes=1
    )
    file = "" if cascade else f"{name}.onnx"
    return Variant(name, file, size, accuracy=accuracy, metric="top-1", measured=measured, cascade=cascade)


figures = st.tuples(st.sampled_from([0.9, 0.95, 1.0]), st.sampled_from([1.0, 2.0, 4.0]), st.sampled_from([10, 20, 40]))


@given(st.lists(figures, min_size=1, max_size=12))
def test_who_is_dominated_is_so_by_somebody_on_the_frontier(drawn: list[tuple[float, float, int]]) -> None:
    variants = [variant(str(at), *each) for at, each in enumerate(drawn)]
    good = not_dominated(variants, [each[2] for each in drawn])
    assert any(good)
    best = [each for each, kept in zip(drawn, good, strict=True) if kept]
    for each, kept in zip(drawn, good, strict=True):
        beaten = any(a >= each[0] and b <= each[1] and c <= each[2] and (a, b, c) != each for a, b, c in best)
        assert kept != beaten


def test_a_variant_that_nobody_measured_is_kept_and_beats_nobody() -> None:
    bare = Variant("device", "device.onnx", 1)
    assert not_dominated([variant("a", 1.0, 1.0, 10), bare], [10, 1]) == [True, True]


def test_a_cascade_is_as_large_as_both_of_its_variants() -> None:
    cascade = Cascade(small="small", full="full", threshold=0.9, temperature=1.0, share=0.5)
    manifest = Manifest(
        name="m",
        engine="onnx",
        inputs=(Tensor("x", "FP32", (-1, 4)),),
        outputs=(Tensor("y", "FP32", (-1, 4)),),
        variants=(
            variant("full", 1.0, 4.0, 40), variant("small", 0.9, 1.0, 10), variant("cascade", 0.99, 2.0, 0, cascade),
        ),
    )  # fmt: skip
    assert size_of(manifest, manifest.variants[2]) == 50
    assert [each.name for each in front(manifest)] == ["full", "small", "cascade"]
