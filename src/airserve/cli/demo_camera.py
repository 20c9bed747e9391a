"""`airserve demo camera`: a session of frames to watch, over the network as it is or behind an emulated link."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from airserve.cli.link_options import Fallback
from airserve.cli.output import AsJson, console, fail, print_json, print_rows
from airserve.cli.service import Ca, Http, HttpVersion, Key, OwnStateDir, Url, connect
from airserve.core.errors import InvalidInputError

if TYPE_CHECKING:
    from airserve.client.session.frame import FrameAnswer
    from airserve.client.session.stats import SessionStats

_SHOWN_EVERY_S = 0.1
_LEFT_S = 1.0


def register(group: typer.Typer) -> None:
    """Add the command to `airserve demo`."""
    group.command("camera")(camera)


def camera(
    model: Annotated[str, typer.Option(help="A model that takes pictures, or tensors of them.")] = "digits",
    rate: Annotated[float, typer.Option(min=0.1, max=200, help="Frames a second.")] = 20.0,
    seconds: Annotated[float, typer.Option(min=0.1, max=86400, help="How long.")] = 20.0,
    deadline: Annotated[float, typer.Option(min=0.001, max=60, help="Seconds for each answer.")] = 0.5,
    accuracy: Annotated[float | None, typer.Option(min=0, max=1, help="The least of a codec; 0.99 without it.")] = None,
    fallback: Annotated[Fallback | None, typer.Option(help="Who answers where the cloud cannot in time.")] = None,
    pictures: Annotated[Path | None, typer.Option(help="A folder with what the camera pans over.", exists=True)] = None,
    link: Annotated[
        str | None, typer.Option(help="Start a service of its own behind this emulated link: 5g-mmwave-driving.")
    ] = None,
    cut: Annotated[
        str | None, typer.Option(help="With --link: lose it at second AT for SECONDS, then on another address: 5,3.")
    ] = None,
    seed: Annotated[int, typer.Option(help="With --link: of the link.")] = 0,
    url: Url = None,
    key: Key = None,
    ca: Ca = None,
    state_dir: OwnStateDir = None,
    http: HttpVersion = Http.auto,
    as_json: AsJson = False,
    started_fd: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Play a camera that pans over a picture, ask a model about each frame, and show what comes of it.

    Example: `airserve demo camera --link 5g-nsa-midband --cut 5,3`
    """
    if link is not None:
        from airserve.cli.demo_link import behind

        raise typer.Exit(behind(link, seed, seconds, cut))
    if cut is not None:
        raise InvalidInputError("--cut is for an emulated link; give --link, such as --link 5g-nsa-midband")
    from airserve.cli.demo_scene import frames

    with connect(url, key, ca, state_dir, http) as client:
        scene = frames(client.metadata(model)["inputs"], pictures, rate)
        options: Any = {"deadline": deadline, "rate": rate, "accuracy": accuracy}
        if fallback is not None:
            options["fallback"] = "device"
        view = _View()
        with client.session(model, on_answer=view.saw, **options) as session, _live(view, quiet=as_json) as show:
            if started_fd is not None:
                os.close(started_fd)
            began = next_at = time.monotonic()
            while (now := time.monotonic()) - began < seconds:
                session.send(next(scene))
                show(session.stats)
                next_at = max(next_at + 1 / rate, now)
                time.sleep(max(0.0, next_at - time.monotonic()))
            session.drain(deadline + _LEFT_S)
            stats = session.stats
            show(stats)
    _summary(stats, view, as_json=as_json)
    if not stats.answered:
        fail("no frame was answered", 6)


class _View:
    """What the answers have shown so far."""

    def __init__(self) -> None:
        self.last: FrameAnswer | None = None
        self.ages: list[float] = []
        self.longest_ms = 0.0
        self._at: float | None = None

    def saw(self, answer: FrameAnswer) -> None:
        """One more answer."""
        now = time.monotonic()
        if self._at is not None:
            self.longest_ms = max(self.longest_ms, 1000 * (now - self._at))
        self._at, self.last = now, answer
        self.ages.append(answer.age_ms)

    def age_ms(self, share: float) -> float:
        """The age that this share of the answers was not older than."""
        ages = sorted(self.ages)
        return ages[min(len(ages) - 1, int(share * len(ages)))] if ages else 0.0

    def line(self, stats: SessionStats) -> str:
        """The moment in one line."""
        answer = self.last
        if answer is None:
            return f"no answer yet · {stats.given} frames given"
        parts = [
            f"{stats.rate:4.1f} frames/s",
            f"age {answer.age_ms:3.0f} ms",
            f"{answer.place} {answer.transport or ''}".strip(),
            f"{answer.up_bytes:,} B {answer.codec}",
            f"link {1000 * stats.rtt_s:.0f} ms" if stats.reachable else "no link",
            f"dropped {stats.dropped}",
            f"resumed {stats.resumptions}",
        ]
        return " · ".join([*parts, *([f"sees {_label(answer)}"] if _label(answer) else [])])


def _label(answer: FrameAnswer) -> str:
    """The first label among the outputs."""
    found = answer.get("label")
    if found is None or not found.size:
        return ""
    first = found.ravel()[0]
    return first.decode("utf-8", "replace") if isinstance(first, bytes) else str(first)


@contextlib.contextmanager
def _live(view: _View, *, quiet: bool) -> Iterator[Any]:
    """What shows the moment: a line that changes in a terminal, nothing where nobody looks."""
    if quiet or not console.is_terminal:
        yield lambda stats: None
        return
    from rich.live import Live
    from rich.text import Text

    shown_at = 0.0
    with Live(Text(""), console=console, auto_refresh=False) as live:

        def show(stats: SessionStats) -> None:
            nonlocal shown_at
            if time.monotonic() - shown_at >= _SHOWN_EVERY_S:
                shown_at = time.monotonic()
                live.update(Text(view.line(stats), no_wrap=True, overflow="ellipsis"), refresh=True)

        yield show


def _summary(stats: SessionStats, view: _View, *, as_json: bool) -> None:
    told = {
        "frames": stats.given,
        "answered": stats.answered,
        "on the device": stats.on_device,
        "late": stats.late,
        "dropped": stats.dropped,
        "age p50 ms": round(view.age_ms(0.5), 1),
        "age p95 ms": round(view.age_ms(0.95), 1),
        "longest wait ms": round(view.longest_ms, 1),
        "bytes a frame": round(stats.up_bytes / max(1, stats.sent + stats.resent)),
        "codec": stats.codec,
        "transport": stats.transport,
        "resumptions": stats.resumptions,
    }
    if as_json:
        print_json({name.replace(" ", "_"): value for name, value in told.items()})
    else:
        rows = [{"what": name, "figure": value} for name, value in told.items()]
        print_rows(rows, as_json=False, title="The session", empty="")
