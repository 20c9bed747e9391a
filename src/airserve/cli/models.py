"""`airserve models`: what is published, and what each alias points at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from airserve.cli.optimise_report import print_variants
from airserve.cli.output import AsJson, console, print_json, print_rows
from airserve.cli.prices import price_text
from airserve.cli.prices import set_command as set_price_command
from airserve.cli.publish_link import codec_rows
from airserve.cli.state import StateDir, open_catalog, open_database, utc

if TYPE_CHECKING:
    from airserve.models.catalog import VersionInfo

Model = Annotated[str, typer.Argument(help="The model's name.")]
Alias = Annotated[str, typer.Option(help="The alias.")]

models = typer.Typer(no_args_is_help=True, help="Published models: list, show, alias, rollback, retire, verify, price.")


def register(app: typer.Typer) -> None:
    """Add the noun to the application."""
    app.add_typer(models, name="models")


@models.command("list")
def list_models(state_dir: StateDir, as_json: AsJson = False) -> None:
    """Every version of every model. Example: `airserve models list`."""
    with open_catalog(state_dir) as catalog:
        rows = [_row(info) for info in catalog.list()]
    print_rows(rows, as_json=as_json, title="Models", empty="no model yet; see airserve publish --help")


@models.command()
def show(model: Model, state_dir: StateDir, as_json: AsJson = False) -> None:
    """One model: versions, signature, variants and price. Example: `airserve models show digits`."""
    from airserve.metering.prices import load_prices

    with open_catalog(state_dir) as catalog:
        infos = catalog.show(model)
    with open_database(state_dir) as database:
        price = load_prices(database).of(model)
    if as_json:
        versions = [{**_row(info), "manifest": msgspec.to_builtins(info.manifest)} for info in infos]
        print_json({"model": model, "versions": versions, "price": msgspec.to_builtins(price)})
        return
    print_rows([_row(info) for info in infos], as_json=False, title=model, empty="")
    manifest = infos[-1].manifest
    for kind, tensors in (("input", manifest.inputs), ("output", manifest.outputs)):
        for each in tensors:
            console.print(f"  {kind:<7} {each.name}  {each.datatype} {list(each.shape)}", highlight=False)
    print_variants(manifest)
    console.print(f"  price   {price_text(price)}", highlight=False)
    if manifest.device is not None:
        console.print(f"  device  {manifest.device}", highlight=False)
    if manifest.codecs:
        print_rows(codec_rows(manifest.codecs), as_json=False, title="Codecs", empty="")


@models.command()
def alias(
    model: Model,
    version: Annotated[int, typer.Argument(help="The version to point at.")],
    state_dir: StateDir,
    alias: Alias = "prod",
    as_json: AsJson = False,
) -> None:
    """Point an alias at a version. Example: `airserve models alias digits 2 --alias canary`."""
    with open_catalog(state_dir) as catalog:
        catalog.set_alias(model, alias, version)
    _say_alias(model, alias, version, as_json)


@models.command()
def rollback(model: Model, state_dir: StateDir, alias: Alias = "prod", as_json: AsJson = False) -> None:
    """Point an alias at the version before. Example: `airserve models rollback digits`."""
    with open_catalog(state_dir) as catalog:
        version = catalog.rollback(model, alias)
    _say_alias(model, alias, version, as_json)


@models.command()
def retire(
    model: Model,
    version: Annotated[int, typer.Argument(help="The version to take out of use for good.")],
    state_dir: StateDir,
    as_json: AsJson = False,
) -> None:
    """Take a version out of use; one that an alias points at is refused. Example: `airserve models retire digits 1`."""
    with open_catalog(state_dir) as catalog:
        catalog.retire(model, version)
    if as_json:
        print_json({"model": model, "version": version, "retired": True})
    else:
        console.print(f"retired {model} version {version}", highlight=False)


@models.command()
def verify(
    state_dir: StateDir,
    model: Annotated[str | None, typer.Argument(help="One model; all of them without it.")] = None,
    as_json: AsJson = False,
) -> None:
    """Read every stored file again and hold it against its checksum. Example: `airserve models verify`."""
    with open_catalog(state_dir) as catalog:
        found = catalog.verify(model)
    rows: list[dict[str, Any]] = [
        {"model": name, "version": version, "ok": problem is None, "problem": problem}
        for (name, version), problem in found.items()
    ]
    print_rows(rows, as_json=as_json, title="Stored packages", empty="no model yet")
    if not all(row["ok"] for row in rows):
        raise typer.Exit(3)


models.command("price")(set_price_command)


def _row(info: VersionInfo) -> dict[str, Any]:
    return {
        "model": info.model,
        "version": info.version,
        "aliases": ", ".join(info.aliases),
        "engine": info.engine,
        "bytes": info.size_bytes,
        "published": utc(info.published_ns),
        "retired": utc(info.retired_ns),
        "sha256": info.address[:12],
    }


def _say_alias(model: str, alias: str, version: int, as_json: bool) -> None:
    if as_json:
        print_json({"model": model, "alias": alias, "version": version})
    else:
        console.print(f"'{alias}' of {model} points at version {version}", highlight=False)
