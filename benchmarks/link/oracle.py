"""`python -m benchmarks link-oracle`: how far the adapting client is from the best fixed plan, cell by cell.

A cell is a link and a model. Every plan that reaches the accuracy floor is played from the same moment of the same
link, over HTTP/2 and over HTTP/3, and so is the adapting client, which is told nothing. The gap is how much longer its
mean is than that of the best fixed plan, after both have had the same seconds to warm up.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from airserve.lab.emulation import missing
from airserve.lab.link_files import load_link
from benchmarks import report
from benchmarks.link.oracle_cells import EQUAL_MS, WITHIN, Cell, Measured, cell, keep, kept, measured, warmed
from benchmarks.link.oracle_client import Played, Task
from benchmarks.link.oracle_lanes import Lane, lanes, share
from benchmarks.link.oracle_models import MODELS, prepare

LINKS = ("up=1,down=10,rtt=60", "up=3,down=20,rtt=60", "up=10,down=50,rtt=50", "up=30,down=100,rtt=40",
         "up=100,down=200,rtt=20", "wifi", "lte", "5g-nsa-midband", "5g-sa-midband", "5g-mmwave-driving")  # fmt: skip
_ADAPTS = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Play all cells and write `results/link-oracle.md`; 1 where links cannot be emulated here."""
    asked = _parser().parse_args(arguments)
    if lacks := missing():
        print(f"links cannot be emulated here: {'; '.join(lacks)}", file=sys.stderr)
        return 1
    settings = f"{asked.seconds} {asked.warm} {asked.seed}"
    wanted = [(link, model) for model in asked.models for link in asked.links]
    missed = [each for each in wanted if asked.again or kept(*each, settings) is None]
    if missed:
        models = list(dict.fromkeys(model for _, model in missed))
        with lanes(asked.lanes, prepare(models), asked.seed) as there:
            for model in models:
                _play_model(there, model, [link for link, its in missed if its == model], asked, settings)
    cells = [found for each in wanted if (found := kept(*each, settings)) is not None]
    _publish(cells, asked)
    return 0


def _play_model(there: list[Lane], model: str, links: Sequence[str], asked: argparse.Namespace, settings: str) -> None:
    """Measure and keep the cells of one model."""
    for lane in there:
        plans = lane.plans(model)
    seconds, every_s = asked.warm + asked.seconds, MODELS[model].every_s
    fixed = [
        Task(model, plan.place, plan.codec, http, seconds, every_s)
        for plan in plans
        for http in (("2",) if plan.place == "device" else ("2", "3"))
    ]
    tasks = _spread(fixed, Task(model, "", "", "auto", seconds, every_s))
    for link in links:
        calls: dict[Task, list[Played]] = {}
        for task, seen in share(there, [(task, load_link(link, seed=asked.seed)) for task in tasks]):
            calls.setdefault(task, []).extend(warmed(seen, asked.warm))
        found = cell(link, model, [measured(task, seen) for task, seen in calls.items()])
        keep(found, settings)
        print(f"{model} over {link}: {said(found)}", file=sys.stderr)


def _spread(fixed: Sequence[Task], adapts: Task) -> list[Task]:
    """The adapting client among the others, three times: the least of many means is a lucky one, one mean is not."""
    third = -(-len(fixed) // _ADAPTS)
    return [task for at in range(0, len(fixed), third) for task in (*fixed[at : at + third], adapts)]


def said(found: Cell) -> str:
    """In one line."""
    best = found.best
    return (
        f"best {plan_name(best.task)} {best.mean_ms:.1f} ms, adapting {found.adapting.mean_ms:.1f} ms "
        f"({found.adapting.plans}), gap {found.gap:+.0%}"
    )


def plan_name(task: Task) -> str:
    """As tables show it."""
    if task.place == "device":
        return "device"
    return f"{task.place} {task.codec} h{task.http}"


def _publish(cells: Sequence[Cell], asked: argparse.Namespace) -> None:
    share_within = sum(each.is_within for each in cells) / max(len(cells), 1)
    gaps = report.Table(
        "The adapting client beside the best fixed plan",
        ("link", "model", "best fixed", "mean ms", "p95 ms", "adapting, its plans", "mean ms", "p95 ms", "gap"),
        [_row(each) for each in cells],
        (
            f"{share_within:.0%} of {len(cells)} cells are within {WITHIN:.0%} (or {EQUAL_MS:g} ms). Means of "
            f"{asked.seconds:g} s after {asked.warm:g} s of warming up, three times for the adapting client; seed "
            f"{asked.seed}.",
        ),
    )
    plans = report.Table(
        "Every fixed plan",
        ("link", "model", "plan", "calls", "mean ms", "p50 ms", "p95 ms"),
        [
            (found.link, found.model, plan_name(each.task), str(each.calls), *_times(each))
            for found in cells
            for each in found.fixed
        ],
    )
    goal = report.Goal("cells within a tenth of the best fixed plan, %", 100 * share_within, 90.0)
    report.publish("link-oracle", "The adapting client and the best fixed plan", [gaps, plans], [goal], [])


def _row(found: Cell) -> tuple[str, ...]:
    best, ours = found.best, found.adapting
    return (found.link, found.model, plan_name(best.task), report.number(best.mean_ms), report.number(best.p95_ms),
            ours.plans, report.number(ours.mean_ms), report.number(ours.p95_ms), f"{found.gap:+.0%}")  # fmt: skip


def _times(each: Measured) -> tuple[str, str, str]:
    return report.number(each.mean_ms), report.number(each.p50_ms), report.number(each.p95_ms)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks link-oracle", description=__doc__)
    links = "separated by semicolons: profiles, constant links or link files"
    parser.add_argument("--links", type=lambda text: text.split(";"), default=list(LINKS), help=links)
    parser.add_argument("--models", type=lambda text: text.split(","), default=list(MODELS), help="of the table's")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each run, without its warming up")
    parser.add_argument("--warm", type=float, default=2.5, help="seconds that each run may warm up")
    parser.add_argument("--lanes", type=int, default=4, help="runs side by side")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--again", action="store_true", help="measure also what was measured before")
    return parser


if __name__ == "__main__":
    sys.exit(main())
