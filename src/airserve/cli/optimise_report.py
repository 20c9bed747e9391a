"""What `airserve optimise` and `airserve models show` print of variants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from airserve.cli.output import console

if TYPE_CHECKING:
    from airserve.models.catalog import PublishedVersion
    from airserve.models.manifest import Manifest, Variant
    from airserve.models.optimise.choice import Choice
    from airserve.models.optimise.optimisation import Measurement, Optimised


def print_variants(manifest: Manifest) -> None:
    """The variants of a package, the dominated ones dimmed; what is served is bold."""
    from airserve.models.optimise.frontier import front

    table = _table(manifest, "Variants")
    good, served = {each.name for each in front(manifest)}, {each.name for each in manifest.served}
    for each in manifest.variants:
        style = "bold" if each.name in served else "" if each.name in good else "dim"
        table.add_row(*_cells(manifest, each, served), style=style)
    console.print(table)


def print_optimised(
    manifest: Manifest, optimised: Optimised, missing: Mapping[str, str], choice: Choice | None
) -> None:
    """All that was measured, what failed and what was left out, and the choice in a sentence."""
    from airserve.models.optimise.frontier import not_dominated, size_of
    from airserve.models.optimise.repackaging import with_variants

    whole = with_variants(manifest, optimised, [each.name for each in optimised.variants])
    first = optimised.measurements[0]
    machine = first.variant.measured.machine if first.variant.measured else ""
    title = f"{manifest.name}: {first.accuracy.metric} over {first.accuracy.rows} rows, on {machine}"
    table = _table(whole, title, loss=True)
    good = not_dominated(optimised.variants, [size_of(whole, each) for each in optimised.variants])
    chosen = {each.name for each in manifest.served}
    for each, kept in zip(optimised.measurements, good, strict=True):
        style = "bold" if each.variant.name in chosen else "" if kept else "dim"
        table.add_row(*_cells(whole, each.variant, chosen, each), style=style)
    console.print(table)
    console.print(
        "p50, p99: ms of one row · ×32: the batch with most rows/s · dim: another is as good and better",
        highlight=False,
    )
    for point in optimised.curve[::2]:
        console.print(
            f"  cascade: above {point.threshold:.4f} {point.share:4.0%} stay small: accuracy {point.accuracy:.4f}, "
            f"{point.ms:.3g} ms a row",
            highlight=False,
        )
    for name, why in optimised.failed.items():
        console.print(f"failed  {name}: {escape(why)}", highlight=False, soft_wrap=True)
    left_out: dict[str, list[str]] = {}
    for name, why in {**optimised.skipped, **missing}.items():
        left_out.setdefault(why, []).append(name)
    for why, names in left_out.items():
        console.print(f"left out  {', '.join(names)}: {escape(why)}", highlight=False, soft_wrap=True)
    if choice is not None and choice.name is not None:
        console.print(f"[bold]chosen[/]  {escape(choice.why)}", highlight=False, soft_wrap=True)


def document(
    version: int | None, manifest: Manifest, optimised: Optimised, missing: Mapping[str, str], choice: Choice | None,
    published: PublishedVersion | None,
) -> dict[str, Any]:  # fmt: skip
    """The same as one JSON document; times in ms, shares from 0 to 1."""
    from airserve.models.optimise.frontier import not_dominated, size_of
    from airserve.models.optimise.repackaging import with_variants

    whole = with_variants(manifest, optimised, [each.name for each in optimised.variants])
    good = not_dominated(optimised.variants, [size_of(whole, each) for each in optimised.variants])
    return {
        "model": manifest.name,
        "version": version,
        "variants": [
            {**_figures(whole, each), "dominated": not kept}
            for each, kept in zip(optimised.measurements, good, strict=True)
        ],
        "cascade_curve": [asdict(point) for point in optimised.curve],
        "failed": optimised.failed,
        "left_out": {**optimised.skipped, **missing},
        "chosen": None if choice is None else choice.name,
        "why": None if choice is None else choice.why,
        "served": [each.name for each in manifest.served],
        "published": None if published is None else asdict(published),
    }


def _figures(manifest: Manifest, each: Measurement) -> dict[str, Any]:
    import msgspec

    from airserve.models.optimise.frontier import size_of

    variant: dict[str, Any] = msgspec.to_builtins(each.variant)
    lost = {name: getattr(each.accuracy, name) for name in ("loss", "loss_low", "loss_high")}
    return {**variant, **lost, "total_bytes": size_of(manifest, each.variant)}


def _table(manifest: Manifest, title: str, *, loss: bool = False) -> Table:
    energy = any(each.measured is not None and each.measured.energy_mj is not None for each in manifest.variants)
    # Close together: it has many columns, and a terminal may have 80.
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=0, pad_edge=False, show_edge=False)
    table.add_column("variant", no_wrap=True)
    columns = ["accuracy", "95 %", *(["loss"] if loss else []), "MB", "RAM MB", "p50", "p99", "rows/s"]
    for column in [*columns, *(["mJ/row"] if energy else [])]:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _cells(manifest: Manifest, variant: Variant, served: set[str], measurement: Measurement | None = None) -> list[str]:
    from airserve.models.optimise.frontier import size_of

    name = f"{variant.name} ←" if variant.name in served else variant.name
    accuracy = "" if variant.accuracy is None else f"{variant.accuracy:.4f}"
    between = "" if variant.low is None or variant.high is None else f"{variant.low:.3f}–{variant.high:.3f}"
    loss = [] if measurement is None else [f"{measurement.accuracy.loss:.2%}"]
    cells = [name, accuracy, between, *loss, _short(size_of(manifest, variant) / 1e6)]
    measured = variant.measured
    if measured is None:
        return cells
    cells += [f"{measured.memory_bytes / 1e6:.3g}", _short(measured.p50_ms), _short(measured.p99_ms)]
    cells.append(f"{_short(measured.rows_per_s)}×{measured.best_batch}")
    return cells if measured.energy_mj is None else [*cells, f"{measured.energy_mj:.3g}"]


def _short(value: float) -> str:
    """Three digits that matter, two of little: 0.011, 812, 9.53k, 1.34M."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}" if value >= 0.1 else f"{value:.2g}"
