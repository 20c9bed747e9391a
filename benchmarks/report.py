"""Results as a table in the terminal, a page and a picture in `benchmarks/results/`."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.table import Table as RichTable

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under their headings; `notes` are sentences below."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Bars:
    """One panel of the picture: a bar per label, and a dashed line at `goal` where there is one."""

    title: str
    unit: str
    values: dict[str, float]
    goal: float | None = None


@dataclass(frozen=True, slots=True)
class Goal:
    """What the figures are held to."""

    text: str
    value: float
    wanted: float
    at_most: bool = False

    @property
    def met(self) -> bool:
        """Whether the value is on the right side of what is wanted."""
        return self.value <= self.wanted if self.at_most else self.value >= self.wanted


def publish(name: str, title: str, tables: Sequence[Table], goals: Sequence[Goal], panels: Sequence[Bars]) -> None:
    """Print the tables and write `results/NAME.md` and `results/NAME.png`."""
    shown = [*tables, _goal_table(goals)] if goals else list(tables)
    console = Console()
    for table in shown:
        _print(console, table)
    RESULTS.mkdir(exist_ok=True)
    picture = f"![{title}]({name}.png)" if panels else ""
    parts = [f"# {title}", _facts(), picture, *(_markdown(table) for table in shown)]
    (RESULTS / f"{name}.md").write_text("\n\n".join(part for part in parts if part) + "\n")
    if panels:
        _draw(RESULTS / f"{name}.png", title, panels)


def number(value: float) -> str:
    """Three digits that matter, thousands apart."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _goal_table(goals: Sequence[Goal]) -> Table:
    rows = [
        (goal.text, number(goal.value), ("≤ " if goal.at_most else "≥ ") + number(goal.wanted), _verdict(goal))
        for goal in goals
    ]
    return Table("Goals", ("what", "measured", "goal", ""), rows)


def _verdict(goal: Goal) -> str:
    return "met" if goal.met else "NOT MET"


def _facts() -> str:
    packages = ("airserve", "numpy", "onnxruntime", "pyvoy", "pyqwest", "fastapi", "uvicorn", "scikit-learn")
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    cores = len(os.sched_getaffinity(0))
    return f"{_processor()}, {cores} cores, {platform.system()}, Python {platform.python_version()}; {versions}."


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _print(console: Console, table: Table) -> None:
    shown = RichTable(title=table.title, title_justify="left", title_style="bold")
    for index, column in enumerate(table.columns):
        shown.add_column(column, justify="left" if index == 0 else "right")
    for row in table.rows:
        shown.add_row(*row)
    console.print(shown)
    for note in table.notes:
        console.print(note, highlight=False)
    console.print()


def _markdown(table: Table) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cells) + " |"

    rule = ["---", *["--:"] * (len(table.columns) - 1)]
    lines = [f"## {table.title}", "", line(table.columns), line(rule), *(line(row) for row in table.rows)]
    for note in table.notes:
        lines += ["", note]
    return "\n".join(lines)


def _draw(path: Path, title: str, panels: Sequence[Bars]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(panels), figsize=(5.2 * len(panels), 4), squeeze=False, layout="constrained")
    figure.suptitle(title)
    for axis, panel in zip(axes[0], panels, strict=True):
        bars = axis.barh(list(panel.values), list(panel.values.values()), color="#3b6ea5")
        axis.bar_label(bars, [number(value) for value in panel.values.values()], padding=3)
        goal = ""
        if panel.goal is not None:
            axis.axvline(panel.goal, linestyle="--", color="#b03a2e")
            goal = f"  (dashed: the goal, {number(panel.goal)})"
        axis.invert_yaxis()
        axis.margins(x=0.18)
        axis.set_title(panel.title, fontsize="medium")
        axis.set_xlabel(panel.unit + goal)
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
