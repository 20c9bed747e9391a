"""`airserve import`: a model of another framework, or another server, as a package."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import numpy as np
import typer
from typer.core import TyperGroup

from airserve.cli.output import AsJson, console, print_json
from airserve.cli.state import StateDir, open_catalog
from airserve.core.errors import InvalidInputError

if TYPE_CHECKING:
    from airserve.models.importers import Imported

Name = Annotated[str | None, typer.Option(help="The model's name; by default that of the file.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="Where the package goes; by default ./NAME.")]
Publish = Annotated[bool, typer.Option("--publish", help="Publish at once, and leave no folder unless --output asks.")]


class _FileByDefault(TyperGroup):
    """`airserve import model.skops` is `airserve import file model.skops`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] not in self.commands:
            args = ["file", *args]
        return super().resolve_command(ctx, args)


imports = typer.Typer(
    cls=_FileByDefault,
    no_args_is_help=True,
    help="Make a package of a model that was made elsewhere: `airserve import PATH`, or `airserve import openai URL`.",
)


def register(app: typer.Typer) -> None:
    """Add the noun to the application."""
    app.add_typer(imports, name="import")


@imports.command("file")
def import_file(
    path: Annotated[Path, typer.Argument(help=".onnx, .skops, .gguf, or a folder of Hugging Face.")],
    state_dir: StateDir,
    name: Name = None,
    output: Output = None,
    max_batch: Annotated[int | None, typer.Option(min=0, help="Most rows of one run; 1 turns batching off.")] = None,
    sample: Annotated[Path | None, typer.Option(help="Rows in a .npy, to check an estimator of scikit-learn.")] = None,
    publish: Publish = False,
    as_json: AsJson = False,
) -> None:
    """A file or folder, converted and checked against its source.

    What it is follows from its name. Nothing that could run code is loaded: pickles are refused.
    Example: `airserve import iris.skops` · `airserve import ./all-MiniLM-L6-v2 --name sentences --publish`
    """
    from airserve.models import importers
    from airserve.models.names import check_name, name_of

    model = check_name(name or name_of(path))
    rows = None if sample is None else _rows(sample)
    _make(
        lambda folder: importers.import_file(path, folder, name=model, max_batch=max_batch, sample=rows),
        output or Path(model),
        publish=state_dir if publish else None,
        keep=not publish or output is not None,
        as_json=as_json,
    )


@imports.command("openai")
def import_openai(
    url: Annotated[str, typer.Argument(help="Where the other server speaks OpenAI's API; ends in /v1.")],
    state_dir: StateDir,
    model: Annotated[str, typer.Option(help="What the other server calls the model.")],
    name: Name = None,
    key_variable: Annotated[
        str | None, typer.Option(help="The variable of the serving process that holds the other server's key.")
    ] = None,
    slots: Annotated[int, typer.Option(min=1, help="Generations at once.")] = 64,
    output: Output = None,
    publish: Publish = False,
    as_json: AsJson = False,
) -> None:
    """Another server that speaks OpenAI's API: calls go there, and are metered here.

    Example: `airserve import openai http://gpu-1:8000/v1 --model llama-3 --name chat --key-variable GPU_KEY`
    """
    from airserve.engines.options import Upstream
    from airserve.models import importers
    from airserve.models.names import check_name, name_of

    own = check_name(name or name_of(Path(model.replace(".", "-"))))
    upstream = Upstream(url=url, model=model, key_variable=key_variable, slots=slots)
    _make(
        lambda folder: importers.import_upstream(upstream, folder, name=own),
        output or Path(own),
        publish=state_dir if publish else None,
        keep=not publish or output is not None,
        as_json=as_json,
    )


def _make(into: Callable[[Path], Imported], output: Path, *, publish: Path | None, keep: bool, as_json: bool) -> None:
    """Make the package in `output`, or in a scratch folder where it is not kept; publish it if `publish` says where."""
    with TemporaryDirectory() as scratch:
        folder = output if keep else Path(scratch) / "package"
        imported = into(folder)
        published = None
        if publish is not None:
            with open_catalog(publish) as catalog:
                published = catalog.publish(folder)
    if as_json:
        print_json(
            {
                "source": imported.source,
                "folder": str(folder) if keep else None,
                "manifest": msgspec.to_builtins(imported.manifest),
                "parity": None if imported.parity is None else asdict(imported.parity),
                "published": None if published is None else asdict(published),
            }
        )
        return
    _describe(imported)
    if keep:
        console.print(f"package in {folder}", highlight=False)
    if published is not None:
        console.print(f"published [bold]{published.model}[/] version {published.version}", highlight=False)
    else:
        console.print(f"next: airserve publish {folder}", highlight=False)


def _describe(imported: Imported) -> None:
    manifest = imported.manifest
    console.print(f"[bold]{manifest.name}[/] from {imported.source}, engine {manifest.engine}", highlight=False)
    for kind, tensors in (("input", manifest.inputs), ("output", manifest.outputs)):
        for each in tensors:
            console.print(f"  {kind:<7} {each.name}  {each.datatype} {list(each.shape)}", highlight=False)
    if manifest.labels:
        console.print(f"  labels  {', '.join(manifest.labels)[:200]}", highlight=False, markup=False)
    if (parity := imported.parity) is not None:
        console.print(f"  parity  {parity.difference:.1e} at most, on {parity.samples} samples", highlight=False)


def _rows(path: Path) -> np.ndarray[Any, Any]:
    try:
        rows: np.ndarray[Any, Any] = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"{path} cannot be read as .npy: {error}") from None
    return rows
