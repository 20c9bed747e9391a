"""`airserve lab check`: the emulator measured on this machine, set against seen."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from airserve.cli.output import AsJson, error_console, fail, print_json, print_rows

if TYPE_CHECKING:
    from airserve.lab.check import Finding

Rootless = Annotated[bool, typer.Option("--rootless", help="In a user namespace, even as root.")]


def register(group: typer.Typer) -> None:
    """Add the command to `airserve lab`."""
    group.command("check")(check)


def check(
    link: Annotated[list[str] | None, typer.Option(help="Measure this link instead; may be given again.")] = None,
    rates: Annotated[str, typer.Option(help="Rates of constant links, Mb/s.")] = "1,10,100,300",
    limit: Annotated[bool, typer.Option("--limit/--no-limit", help="Find the rate at which it gives up.")] = True,
    rootless: Rootless = False,
    seed: Annotated[int, typer.Option(help="Of the links.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Measure the emulator with a ping, a TCP flow and a UDP flow: rate within 5 %, delay 1 ms, loss 10 %.

    Example: `airserve lab check --rates 10,100`
    """
    from airserve.lab.check import check_link, check_loss, check_rate, find_limit
    from airserve.lab.emulation import EmulationWarning, missing
    from airserve.lab.link_files import load_link

    # As root the choice is the option's; everybody else has no other way.
    way = True if rootless else None
    if reasons := missing(rootless=way):
        fail("; ".join(reasons))

    # Lateness has rows of its own here.
    warnings.simplefilter("ignore", EmulationWarning)

    def findings() -> Iterator[Finding]:
        if link:
            for text in link:
                yield from check_link(load_link(text, seed), seed=seed, rootless=way)
            return
        for rate in _rates(rates):
            yield from check_rate(rate * 1e6, rootless=way)
        yield check_loss(rootless=way)

    found = []
    for finding in findings():
        found.append(finding)
        error_console.print(f"{finding.link}: {finding.what}: {finding.off}", highlight=False)
    reached, reason = (0.0, "")
    if limit and not link:
        reached, reason = find_limit(rootless=way, tell=lambda text: error_console.print(f"limit: {text}"))
    if as_json:
        print_json({"findings": found, "true_up_to_bps": reached, "reason": reason})
    else:
        print_rows([_row(finding) for finding in found], as_json=False, title="set against seen", empty="nothing")
        if reason:
            typer.echo(f"This machine's emulator is true up to {reached / 1e6:.0f} Mb/s: {reason}.")
    if any(finding.warns_only and not finding.holds for finding in found):
        error_console.print("warning: this machine was too busy to send every packet on time", highlight=False)
    if missed := [finding for finding in found if not finding.holds and not finding.warns_only]:
        fail(f"{len(missed)} of {len(found)} figures are out of bounds: this machine is too busy, or too slow")


def _rates(text: str) -> list[float]:
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        fail(f"rates are numbers of Mb/s between commas, not {text!r}", 2)
    if not all(rate > 0 for rate in found):
        fail("a rate is more than 0", 2)
    return found


def _row(finding: Finding) -> dict[str, str]:
    return {
        "link": finding.link, "what": finding.what, "set": f"{finding.set_to:.4g} {finding.unit}",
        "seen": f"{finding.seen:.4g} {finding.unit}", "off": finding.off, "bound": finding.bound,
        "": "ok" if finding.holds else "late" if finding.warns_only else "missed",
    }  # fmt: skip
