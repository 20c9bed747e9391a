"""`airserve lab profiles`, `import` and `record`: links by name, from public traces, and from a real network."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from airserve.cli.output import AsJson, console, print_json, print_rows
from airserve.cli.service import Ca, Key, OwnStateDir, find
from airserve.core.errors import ConflictError


class Way(StrEnum):
    """Which way a trace was measured."""

    up = "up"
    down = "down"
    both = "both"


Out = Annotated[Path, typer.Option(help="The link file to write, JSON.")]
Name = Annotated[str | None, typer.Option(help="The link's name; without it the file's.")]
Force = Annotated[bool, typer.Option("--force", help="Write over a file that is there.")]


def register(group: typer.Typer) -> None:
    """Add the commands to `airserve lab`."""
    group.command("profiles")(profiles)
    group.command("import")(import_)
    group.command("record")(record)


def profiles(as_json: AsJson = False) -> None:
    """List the ready-made links, their figures (5th / 50th / 95th percentile) and where these are from.

    Example: `airserve lab profiles --json`
    """
    from airserve.lab.profile_table import rows

    found = rows()
    if as_json:
        print_json(found)
        return
    _print(found)
    for row in found:
        console.print(f"{row['profile']}: {row['source']}", highlight=False)


def import_(
    files: Annotated[list[Path], typer.Argument(help="The trace; several where each tells a part, e.g. a way.")],
    out: Out,
    kind: Annotated[
        str, typer.Option("--format", help="auto, mahimahi, csv, lumos5g, ucc, nuttcp or cicv5g.")
    ] = "auto",
    way: Annotated[
        Way | None, typer.Option(help="Which way it was measured, where the file's name does not say.")
    ] = None,
    rate: Annotated[float, typer.Option(help="Mbit/s, where no file tells a rate.")] = 100.0,
    rtt: Annotated[float, typer.Option(help="Round trip in ms, where no file tells a delay.")] = 50.0,
    name: Name = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Turn a measured trace into a link file, which `--link` takes everywhere.

    Example: `airserve lab import trip.up trip.down --rtt 60 --out trip.json`
    """
    from airserve.lab.formats import read_trace
    from airserve.lab.link_checks import check_link
    from airserve.lab.link_files import save_link
    from airserve.lab.trace import Assumed, to_link

    _refuse_existing(out, force)
    traces = [read_trace(file, kind, None if way is None else way.value) for file in files]
    source = f"imported from {', '.join(file.name for file in files)}"
    link = to_link(traces, name or out.stem, source, Assumed(rate_bps=rate * 1e6, rtt_s=rtt / 1e3))
    check_link(link)
    save_link(link, out)
    _say(link, out, as_json)


def record(
    out: Out,
    url: Annotated[str | None, typer.Argument(help="The service; your own without it.")] = None,
    seconds: Annotated[float, typer.Option(min=1, help="How long.")] = 30.0,
    most_mb: Annotated[float, typer.Option(min=0.1, help="Stop after this many megabytes both ways together.")] = 100.0,
    model: Annotated[str, typer.Option(help="A model that the key may call; it is not run.")] = "digits",
    key: Key = None,
    ca: Ca = None,
    state_dir: OwnStateDir = None,
    name: Name = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Measure the link to a service, once a second, by transfers that are not billed, and write a link file.

    Example: `airserve lab record https://ai.example.com --key … --seconds 60 --out commute.json`
    """
    from airserve.lab import record as recording
    from airserve.lab.link_files import save_link

    _refuse_existing(out, force)
    found_url, found_key, found_ca = find(url, key, ca, state_dir)
    recorder = recording.Recorder(found_url, found_key, model, found_ca)
    made = recording.record(recorder, recording.Budget(seconds, round(most_mb * 1e6)))
    link = made.link(name or out.stem, found_url)
    save_link(link, out)
    _say(link, out, as_json)


def _refuse_existing(out: Path, force: bool) -> None:
    if out.exists() and not force:
        raise ConflictError(f"{out} is there already; give another --out, or --force")


def _say(link: Any, out: Path, as_json: bool) -> None:
    from airserve.lab.profile_table import row

    found = {**row(link), "file": str(out)}
    if as_json:
        print_json(found)
    else:
        _print([found])


def _print(found: list[dict[str, Any]]) -> None:
    def text(value: Any) -> Any:
        return " / ".join(f"{each:g}" for each in value) if isinstance(value, list) else value

    shown = [{key: text(value) for key, value in row.items() if key not in ("source", "grant_ms")} for row in found]
    print_rows(shown, as_json=False, title="5th / 50th / 95th percentile; outages up / down", empty="")
