"""`airserve optimise`: make a model's variants, measure what each costs and is worth, and choose one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from airserve.cli.optimise_report import document, print_optimised
from airserve.cli.output import AsJson, console, error_console, fail, print_json
from airserve.cli.quantities import bytes_of, milliseconds_of, share_of
from airserve.cli.state import StateDir, open_catalog
from airserve.core.errors import ConflictError, InvalidInputError

if TYPE_CHECKING:
    from airserve.cli.optimise_source import Given as Source
    from airserve.models.catalog import Catalog, PublishedVersion
    from airserve.models.manifest import Manifest
    from airserve.models.optimise.choice import Choice, Limits
    from airserve.models.optimise.methods import Known
    from airserve.models.optimise.optimisation import Asked, OnStep, Optimised

_INTERRUPTED = 130


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("optimise")(optimise)


def optimise(
    model: Annotated[str, typer.Argument(help="A published model, a package, its .tar.zst, an .onnx or a .gguf.")],
    state_dir: StateDir,
    data: Annotated[
        Path,
        typer.Option(help="The sample: a folder of pictures, .npy, .npz by input, .txt of lines.", show_default=False),
    ],
    labels: Annotated[
        Path | None, typer.Option(help="The sample's classes: .npy, or one name or index a line.")
    ] = None,
    train: Annotated[
        Path | None, typer.Option(help="A training set for pruning and distillation: .npz by input, and labels.")
    ] = None,
    version: Annotated[int | None, typer.Option(min=1, help="Not prod's or the newest version, but this.")] = None,
    methods: Annotated[str, typer.Option(help="Try only these, such as slim,int8-static; all without it.")] = "",
    max_accuracy_drop: Annotated[
        str | None, typer.Option(help="Choose a variant that loses at most this: 1%, or 0.01.")
    ] = None,
    target_latency: Annotated[
        str | None, typer.Option(help="Choose a variant whose median row takes at most this: 5ms.")
    ] = None,
    target_size: Annotated[str | None, typer.Option(help="Choose a variant of at most this: 10MB.")] = None,
    serve: Annotated[
        str, typer.Option(help="Answer with these: names, 'auto' (all that are not dominated), or 'none'.")
    ] = "none",
    keep: Annotated[
        str, typer.Option(help="Variants in the package: 'all', or 'front' (those not dominated).")
    ] = "all",
    publish: Annotated[bool, typer.Option("--publish/--no-publish", help="Publish the package.")] = True,
    alias: Annotated[str | None, typer.Option(help="Point this alias at the new version, such as prod.")] = None,
    output: Annotated[Path | None, typer.Option(help="Write the package to this folder too.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Write accuracy, time and size as a PNG.")] = None,
    rows: Annotated[int | None, typer.Option(min=8, help="Most rows of the sample; tokens for language.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Of one run; one, and all for language.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Of timing; every variant has a turn in each.")] = 3,
    seconds: Annotated[float, typer.Option(min=0.01, help="Of single rows a round, and as many of batches.")] = 1.0,
    fresh: Annotated[bool, typer.Option("--fresh", help="Measure anew what an earlier run measured.")] = False,
    sign: Annotated[Path | None, typer.Option(help="Sign what is published with this private key.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make smaller and faster variants of a model, and measure accuracy, size, memory, time and energy of each.

    The package with all variants becomes a new version; no alias moves unless you say so. With a limit one variant is
    chosen and served. Interrupted, the same command goes on where it was.
    Example: `airserve optimise digits --data rows.npy --labels classes.npy --max-accuracy-drop 1% --alias prod`
    """
    from airserve.models.optimise.choice import Limits
    from airserve.models.optimise.optimisation import Asked

    limits = Limits(
        None if max_accuracy_drop is None else share_of("--max-accuracy-drop", max_accuracy_drop),
        None if target_latency is None else milliseconds_of("--target-latency", target_latency),
        None if target_size is None else bytes_of("--target-size", target_size),
    )
    if keep not in ("all", "front"):
        raise InvalidInputError(f"--keep is 'all' or 'front', not '{keep[:20]}'")
    _check_room(output, sign)
    if serve != "none" and limits.any:
        raise InvalidInputError("--serve names what to serve, and a limit chooses it; give one of them")
    asked = Asked(rounds, 0.01 if limits.most_drop is None else limits.most_drop)
    given = _Options(
        data=data, labels=labels, train=train, rows=rows, threads=threads, seconds=seconds, methods=_names(methods),
        serve=[] if serve in ("none", "auto") else _names(serve), fresh=fresh,
    )  # fmt: skip
    try:
        with _opened(state_dir, model, version) as (catalog, source):
            known, optimised = _optimise(catalog, source, state_dir, given, asked)
            outcome = _outcome(source.manifest, optimised, limits, serve, keep)
            if plot is not None:
                _plot(plot, source.manifest.name, outcome)
            published = None
            if outcome.choice is None or outcome.choice.name is not None:
                published = _deliver(catalog, source, outcome, output, publish=publish, alias=alias, sign=sign)
    except KeyboardInterrupt:
        fail("interrupted; the same command goes on from here", _INTERRUPTED)
    missing = known.missing
    if as_json:
        print_json(document(source.version, outcome.manifest, optimised, missing, outcome.choice, published))
    else:
        print_optimised(outcome.manifest, optimised, missing, outcome.choice)
        _say(outcome, published, output)
    if outcome.choice is not None and outcome.choice.name is None:
        raise typer.Exit(1)


@dataclass(frozen=True, slots=True)
class _Options:
    """What the measuring depends on, and what it must bring."""

    data: Path
    labels: Path | None
    train: Path | None
    rows: int | None
    threads: int | None
    seconds: float
    methods: Sequence[str]
    serve: Sequence[str]
    fresh: bool


@dataclass(frozen=True, slots=True)
class _Outcome:
    """The new manifest, and what was chosen where something was asked for."""

    manifest: Manifest
    optimised: Optimised
    choice: Choice | None


@contextmanager
def _opened(state_dir: Path, model: str, version: int | None) -> Iterator[tuple[Catalog, Source]]:
    from airserve.cli.optimise_source import opened

    with open_catalog(state_dir) as catalog, opened(catalog, model, version) as source:
        yield catalog, source


def _optimise(
    catalog: Catalog, source: Source, state_dir: Path, given: _Options, asked: Asked
) -> tuple[Known, Optimised]:
    from airserve.models.optimise import families, optimisation
    from airserve.models.optimise.methods import known_methods
    from airserve.models.optimise.work import Work

    families.check_optimisable(source.manifest)
    known = known_methods(source.manifest.engine, given.methods, learning=given.train is not None)
    _check_served(given.serve, source.manifest, known)
    wanted = families.Given(given.data, given.labels, given.train, given.rows, given.threads, given.seconds)
    limits = catalog.store.policy.limits
    subject = families.subject_of(source.folder, source.manifest, source.address, wanted, limits)
    work = Work(state_dir / "optimise", subject.key, fresh=given.fresh)
    with _progress() as on_step:
        optimised = optimisation.optimise(
            subject.original, subject.family, subject.sample, known.methods, work, asked, on_step
        )
    return known, optimised


def _check_room(output: Path | None, sign: Path | None) -> None:
    """What would be refused at the end is refused before minutes of work."""
    from airserve.models.signature import read_private_key

    if output is not None and output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ConflictError(f"{output} exists already; choose another place, or remove it first")
    if sign is not None:
        read_private_key(sign)


def _check_served(names: Sequence[str], manifest: Manifest, known: Known) -> None:
    from airserve.models.optimise.optimisation import CASCADE

    possible = [*(each.name for each in manifest.variants), *(each.name for each in known.methods), CASCADE]
    if unknown := [name for name in names if name not in possible]:
        raise InvalidInputError(
            f"--serve names '{unknown[0][:80]}', which is no variant; there may be {', '.join(dict.fromkeys(possible))}"
        )


def _outcome(manifest: Manifest, optimised: Optimised, limits: Limits, serve: str, keep: str) -> _Outcome:
    from airserve.models.manifest import check_manifest
    from airserve.models.optimise.choice import choose
    from airserve.models.optimise.frontier import front, size_of
    from airserve.models.optimise.repackaging import served_names, serving, with_variants

    names = [each.name for each in optimised.variants]
    whole = with_variants(manifest, optimised, names)
    good = [each.name for each in front(whole)]
    choice = None
    served: Sequence[str] = []
    if limits.any:
        first, *others = [each.candidate(size_of(whole, each.variant)) for each in optimised.measurements]
        choice = choose(first, others, limits)
        served = [] if choice.name in (None, first.name) else [str(choice.name)]
    elif serve != "none":
        served = [name for name in good if name in names] if serve == "auto" else served_names(whole, _names(serve))
    kept = names if keep == "all" else [*good, *served]
    return _Outcome(check_manifest(serving(with_variants(manifest, optimised, kept), served)), optimised, choice)


def _deliver(
    catalog: Catalog, source: Source, outcome: _Outcome, output: Path | None, *, publish: bool, alias: str | None,
    sign: Path | None,
) -> PublishedVersion | None:  # fmt: skip
    from airserve.models.optimise.repackaging import write_optimised
    from airserve.models.signature import read_private_key

    with tempfile.TemporaryDirectory(prefix="airserve-optimise-") as scratch:
        folder = output or Path(scratch) / "package"
        write_optimised(folder, source.folder, source.files, outcome.manifest, outcome.optimised)
        if not publish:
            return None
        return catalog.publish(folder, alias=alias, sign_with=None if sign is None else read_private_key(sign))


def _say(outcome: _Outcome, published: PublishedVersion | None, output: Path | None) -> None:
    served = ", ".join(each.name for each in outcome.manifest.served)
    if outcome.choice is not None and outcome.choice.name is None:
        error_console.print(f"[bold red]error[/]: {outcome.choice.why}", highlight=False, soft_wrap=True)
        return
    if output is not None:
        console.print(f"wrote {output}", highlight=False)
    if published is not None:
        pointing = (
            f"'{published.alias}' points at it" if published.alias else
            f"no alias points at it; airserve models alias {published.model} {published.version} puts it in front"
        )  # fmt: skip
        console.print(
            f"published [bold]{published.model}[/] version {published.version}, which answers with {served}; "
            f"{pointing}",
            highlight=False,
            soft_wrap=True,
        )


def _plot(file: Path, name: str, outcome: _Outcome) -> None:
    try:
        from airserve.models.optimise.plot import draw
    except ImportError as error:
        fail(f"--plot needs {error.name}: pip install 'airserve[optimise]'")
    chosen = None if outcome.choice is None else outcome.choice.name
    draw(file, name, outcome.manifest, outcome.optimised, chosen)


@contextmanager
def _progress() -> Iterator[OnStep]:
    """A bar with what is being done and the time left, on standard error."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:.0f}/{task.total:.0f}"))
    with Progress(*columns, TimeRemainingColumn(), console=error_console, transient=True) as bar:
        task = bar.add_task("reading the sample", total=1)

        def on_step(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total)

        yield on_step


def _names(text: str) -> list[str]:
    return [each.strip() for each in text.split(",") if each.strip()]
