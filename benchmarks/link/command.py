"""`python -m benchmarks link`: clients of models over emulated links, with tables and pictures of what they did."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from airserve.lab.emulation import missing
from airserve.lab.measures import Run
from benchmarks.link import pages
from benchmarks.link.cells import Settings, forget, kept_runs, run_cell
from benchmarks.link.clients.ours import WITHOUT
from benchmarks.link.workloads import NAMES

LINKS = ("5g-nsa-lowband", "5g-nsa-midband", "5g-sa-midband", "5g-mmwave-walking", "5g-mmwave-driving", "5g-urllc",
         "5g-cell-edge")  # fmt: skip
FEW_LINKS = ("5g-nsa-midband", "5g-sa-midband")
CLIENTS = {
    "vision": (
        "ours",
        "cloud first",
        "waits for cloud",
        "jpeg h2",
        "float32 h2",
        "triton http",
        "triton grpc",
        "json http1",
    ),
    "text": ("ours", "cloud first", "waits for cloud", "float32 h2", "triton http", "triton grpc", "json http1"),
    "sensor": ("ours", "cloud first", "waits for cloud", "float32 h2", "triton http", "triton grpc", "json http1"),
    "chat": ("chat stream", "chat whole", "chat httpx"),
}
HEADLINE = ("ours", "cloud first", "waits for cloud", "jpeg h2", "float32 h2")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for, and write the pages of all that is there; 1 where a client failed."""
    asked = _parser().parse_args(arguments)
    if lacks := missing():
        print(f"links cannot be emulated here: {'; '.join(lacks)}", file=sys.stderr)
        return 1
    settings = Settings(asked.seconds, asked.seed, cut=not asked.no_cut)
    failed = False
    for workload in asked.workload:
        runs: list[Run] = []
        for link in asked.links:
            clients = _clients(workload, asked.clients, ablation=asked.ablation)
            if asked.again:
                forget(workload, link, clients, settings)
            runs += run_cell(workload, link, clients, settings)
        failed = failed or any(run.fault for run in runs)
        kept = {link: kept_runs(workload, link, settings) for link in dict.fromkeys((*LINKS, *asked.links))}
        pages.write(workload, [run for link in kept.values() for run in link.values()], settings)
    return int(failed)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks link", description=__doc__)
    parser.add_argument("--workload", type=_names, default=list(NAMES), help=f"of {', '.join(NAMES)}; all without it")
    parser.add_argument(
        "--links", type=links, default=list(FEW_LINKS), help="links of `airserve lab profiles`; or `5g`"
    )
    parser.add_argument("--clients", type=_names, default=[], help="names of the table; `headline` for the four of it")
    parser.add_argument("--seconds", type=float, default=15.0, help="of each run, without its start")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-cut", action="store_true", help="without the 3 s in which the network is lost")
    parser.add_argument("--ablation", action="store_true", help="also ours, with each feature turned off")
    parser.add_argument("--again", action="store_true", help="run also what was run before")
    return parser


def _names(text: str) -> list[str]:
    return [each.strip() for each in text.split(",") if each.strip()]


def links(text: str) -> list[str]:
    """`5g` for all of it, else names; neighbours of the form `rate=20,rtt=40` are one link."""
    found: list[str] = []
    for name in list(LINKS) if text == "5g" else _names(text):
        if "=" in name and found and "=" in found[-1]:
            found[-1] += f",{name}"
        else:
            found.append(name)
    return found


def _clients(workload: str, asked: Sequence[str], *, ablation: bool) -> list[str]:
    there = CLIENTS[workload]
    if asked == ["headline"]:
        asked = HEADLINE
    chosen = [each for each in there if not asked or each in asked]
    return chosen + [f"ours without {each}" for each in WITHOUT if ablation and workload != "chat"]
