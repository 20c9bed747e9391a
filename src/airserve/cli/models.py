"""`airserve models`: what is published, and what each alias points at."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from airserve.cli.output import AsJson, console, print_json, print_rows
from airserve.cli.state import StateDir, open_catalog, open_database, utc

if TYPE_CHECKING:
    from airserve.metering.prices import Price
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
    for variant in manifest.variants:
        measured = "" if variant.accuracy is None else f", {variant.metric} {variant.accuracy:.4f}"
        console.print(f"  variant {variant.name}  {variant.size_bytes} bytes{measured}", highlight=False)
    console.print(f"  price   {_price_text(price)}", highlight=False)


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


@models.command()
def price(
    model: Annotated[str, typer.Argument(help="The model's name, or '*' for every model without a price.")],
    state_dir: StateDir,
    per_call: Annotated[str, typer.Option(help="Decimal amount a call.")] = "0",
    per_compute_second: Annotated[str, typer.Option(help="Decimal amount a second of compute.")] = "0",
    per_million_input_tokens: Annotated[str, typer.Option(help="Decimal amount a million tokens of prompt.")] = "0",
    per_million_cached_tokens: Annotated[
        str | None, typer.Option(help="The same where the engine had them cached.", show_default="as input tokens")
    ] = None,
    per_million_output_tokens: Annotated[str, typer.Option(help="Decimal amount a million tokens of answer.")] = "0",
    currency: Annotated[str, typer.Option(help="Three letters.")] = "EUR",
    as_json: AsJson = False,
) -> None:
    """Set a price for calls from now on; what was priced before stays.

    Example: `airserve models price digits --per-call 0.0001 --per-compute-second 0.02`, or
    `airserve models price chat --per-million-input-tokens 0.20 --per-million-output-tokens 0.80`
    """
    from airserve.metering.money import nano_of
    from airserve.metering.prices import set_price

    with open_database(state_dir) as database:
        new = set_price(
            database,
            model,
            per_call_nano=nano_of(per_call),
            per_compute_second_nano=nano_of(per_compute_second),
            per_million_input_tokens_nano=nano_of(per_million_input_tokens),
            per_million_cached_tokens_nano=None
            if per_million_cached_tokens is None
            else nano_of(per_million_cached_tokens),
            per_million_output_tokens_nano=nano_of(per_million_output_tokens),
            currency=currency,
            now_ns=time.time_ns(),
        )
    if as_json:
        print_json(msgspec.to_builtins(new))
    else:
        console.print(f"price {new.id} of {model}: {_price_text(new)}", highlight=False)


def _price_text(price: Price) -> str:
    """The parts that are not 0."""
    from airserve.metering.money import amount_text

    parts = {
        "a call": price.per_call_nano,
        "a compute-second": price.per_compute_second_nano,
        "a million input tokens": price.per_million_input_tokens_nano,
        "a million cached tokens": price.per_million_cached_tokens_nano,
        "a million output tokens": price.per_million_output_tokens_nano,
    }
    named = [f"{amount_text(nano)} {price.currency} {what}" for what, nano in parts.items() if nano]
    return ", ".join(named) or "free"


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
