"""Plots of an experiment: latency, bytes, deadline hits, and the calls over time with the link's rate under them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from airserve.core.errors import NotImplementedHereError
from airserve.lab.emulation_log import BIN_S
from airserve.lab.measures import DEADLINES_MS, Figures, Run


def write_plots(runs: Sequence[Run], rows: Sequence[Figures], folder: Path) -> list[str]:
    """Write the plots into `folder` and return their file names.

    Raises NotImplementedHereError without matplotlib, which the extra `lab` brings.
    """
    figure_kind = _figure_kind()
    links = list(dict.fromkeys(run.link for run in runs))
    colours = {name: f"C{place % 10}" for place, name in enumerate(dict.fromkeys(run.client for run in runs))}
    plots = {
        "latency.png": _latency(figure_kind, runs, links, colours),
        "bytes.png": _bars(figure_kind, rows, links, colours, "kilobytes a call, up", _kilobytes),
        "deadlines.png": _bars(figure_kind, rows, links, colours, f"answered in {DEADLINES_MS[1]} ms, %", _hits),
    }
    for link in links:
        name = re.sub(r"[^A-Za-z0-9.-]+", "-", link).strip("-")
        plots[f"timeline-{name}.png"] = _timeline(figure_kind, [run for run in runs if run.link == link], colours)
    for name, figure in plots.items():
        figure.savefig(folder / name, dpi=110)
    return list(plots)


def _figure_kind() -> Any:
    """matplotlib's Figure, which draws without a screen and keeps no global state."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise NotImplementedHereError("plots need matplotlib: pip install 'airserve[lab]'") from None
    return Figure


def _latency(kind: Any, runs: Sequence[Run], links: list[str], colours: dict[str, str]) -> Any:
    figure = kind(figsize=(4.6 * len(links), 3.8), layout="constrained")
    for axis, link in zip(np.atleast_1d(figure.subplots(1, len(links), sharey=True)), links, strict=True):
        for client, colour in colours.items():
            times = sorted(
                call.ms if call.ok else np.inf
                for run in runs
                if (run.link, run.client) == (link, client)
                for call in run.calls
            )
            share = np.arange(1, len(times) + 1) / max(len(times), 1)
            axis.step(np.maximum(times, 0.1), share, where="post", color=colour, label=client)
        axis.set(title=link, xlabel="latency, ms", xscale="log", ylim=(0, 1))
        axis.grid(alpha=0.3)
    figure.axes[0].set_ylabel("share of calls answered")
    figure.axes[0].legend(fontsize="small")
    return figure


def _bars(kind: Any, rows: Sequence[Figures], links: list[str], colours: dict[str, str], label: str, value: Any) -> Any:
    figure = kind(figsize=(max(2.2 * len(links), 5.0), 3.6), layout="constrained")
    axis = figure.subplots()
    width = 0.8 / len(colours)
    for place, (client, colour) in enumerate(colours.items()):
        found = {row.link: value(row) for row in rows if row.client == client}
        heights = [found.get(link) or 0.0 for link in links]
        axis.bar(np.arange(len(links)) + (place + 0.5) * width - 0.4, heights, width, color=colour, label=client)
    axis.set_xticks(range(len(links)), links, rotation=20, ha="right")
    axis.set_ylabel(label)
    axis.grid(axis="y", alpha=0.3)
    axis.legend(fontsize="small")
    return figure


def _timeline(kind: Any, runs: Sequence[Run], colours: dict[str, str]) -> Any:
    """Calls of the first repeat, one dot each; crosses are calls without an answer."""
    first = [run for run in runs if run.repeat == runs[0].repeat]
    figure = kind(figsize=(9.0, 5.0), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    for run in first:
        for ok, mark in ((True, "."), (False, "x")):
            calls = [call for call in run.calls if call.ok is ok]
            label = run.client if ok else None
            upper.plot(
                [c.t for c in calls], [max(c.ms, 0.1) for c in calls], mark, color=colours[run.client], label=label
            )
    upper.set(yscale="log", ylabel="latency, ms", title=runs[0].link)
    upper.legend(fontsize="small")
    longest = max(first, key=lambda run: len(run.rates_up_bps))
    rates = np.array(longest.rates_up_bps) / 1e6
    lower.fill_between(np.arange(len(rates)) * BIN_S, rates, step="post", color="0.75")
    lower.set(xlabel="seconds", ylabel="uplink, Mbit/s", ylim=(0, None))
    for axis in (upper, lower):
        axis.grid(alpha=0.3)
    return figure


def _kilobytes(row: Figures) -> float | None:
    return None if row.bytes_up is None else row.bytes_up / 1e3


def _hits(row: Figures) -> float | None:
    hit = row.hits[1]
    return None if hit is None else hit * 100
