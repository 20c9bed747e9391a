"""The frontier as a picture: accuracy against the time of a row, the size of a variant as that of its bubble."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.ticker import FuncFormatter

from airserve.models.manifest import Manifest
from airserve.models.optimise.frontier import not_dominated, size_of
from airserve.models.optimise.optimisation import Measurement, Optimised
from airserve.models.optimise.repackaging import with_variants

_GOOD, _DOMINATED, _CHOSEN = "#3b6ea5", "#b8b8b8", "#b03a2e"
_LARGEST = 1400
_HEIGHTS = (6, -14, 18, -26, 30)


def draw(file: Path, name: str, manifest: Manifest, optimised: Optimised, chosen: str | None) -> None:
    """Write it as a PNG. Dominated variants are grey, the chosen one is red, bars are 95 % confidence intervals."""
    figure, axis = pyplot.subplots(figsize=(9, 5.5), layout="constrained")
    draw_on(axis, manifest, optimised, chosen)
    axis.set_title(f"{name}: what each variant costs and is worth")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=120, format="png")
    pyplot.close(figure)


def draw_on(axis: Any, manifest: Manifest, optimised: Optimised, chosen: str | None) -> None:
    """The same on an axis of somebody else's figure."""
    whole = with_variants(manifest, optimised, [each.name for each in optimised.variants])
    sizes = [size_of(whole, each) for each in optimised.variants]
    good = not_dominated(optimised.variants, sizes)
    by_time = sorted(zip(optimised.measurements, sizes, good, strict=True), key=lambda each: _ms(each[0]))
    for at, (each, size, kept) in enumerate(by_time):
        colour = _CHOSEN if each.variant.name == chosen else _GOOD if kept else _DOMINATED
        # Neighbours in time get their names at different heights.
        _bubble(axis, each, _LARGEST * size / max(sizes), size, colour, _HEIGHTS[at % len(_HEIGHTS)])
    if optimised.curve:
        axis.plot(
            [point.ms for point in optimised.curve], [point.accuracy for point in optimised.curve],
            linestyle=":", color=_GOOD, zorder=1, label="cascade, by its threshold",
        )  # fmt: skip
        axis.legend(loc="lower right", frameon=False)
    axis.set_xscale("log")
    for ticks in (axis.xaxis.set_major_formatter, axis.xaxis.set_minor_formatter):
        ticks(FuncFormatter(lambda ms, _: f"{ms:g}"))
    axis.set_xlabel("median ms of one row")
    axis.set_ylabel(optimised.measurements[0].accuracy.metric)
    axis.margins(x=0.15, y=0.15)
    axis.grid(alpha=0.25, which="both")
    axis.spines[["top", "right"]].set_visible(False)


def _bubble(axis: Any, each: Measurement, area: float, size: int, colour: str, height: int) -> None:
    x, accuracy = _ms(each), each.accuracy
    bars = [[max(accuracy.value - accuracy.low, 0)], [max(accuracy.high - accuracy.value, 0)]]
    axis.errorbar([x], [accuracy.value], yerr=bars, color=colour, capsize=3, linewidth=1, zorder=2)
    axis.scatter([x], [accuracy.value], s=max(area, 20), color=colour, alpha=0.45, zorder=3)
    axis.annotate(
        f"{each.variant.name}, {size / 1e6:.3g} MB", (x, accuracy.value), textcoords="offset points",
        xytext=(6, height), fontsize=8, color="#222" if colour != _DOMINATED else "#888", zorder=4,
    )  # fmt: skip


def _ms(each: Measurement) -> float:
    assert each.variant.measured is not None, "it was timed"  # noqa: S101
    return each.variant.measured.p50_ms
