"""`airserve prices`: what calls cost."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from airserve.cli.output import AsJson, console, print_json, print_rows
from airserve.cli.state import StateDir, open_database

if TYPE_CHECKING:
    from airserve.metering.prices import Price
    from airserve.metering.tiers import Step

prices = typer.Typer(no_args_is_help=True, help="Prices of models: set a list price, list those of plans too.")


def register(app: typer.Typer) -> None:
    """Add the noun to the application."""
    app.add_typer(prices, name="prices")


@prices.command("set")
def set_command(
    model: Annotated[str, typer.Argument(help="The model's name, or '*' for every model without a price.")],
    state_dir: StateDir,
    per_call: Annotated[str, typer.Option(help="Decimal amount a call.")] = "0",
    per_compute_second: Annotated[str, typer.Option(help="Decimal amount a second of compute.")] = "0",
    per_million_input_tokens: Annotated[str, typer.Option(help="Decimal amount a million tokens of prompt.")] = "0",
    per_million_cached_tokens: Annotated[
        str | None, typer.Option(help="The same where the engine had them cached.", show_default="as input tokens")
    ] = None,
    per_million_output_tokens: Annotated[str, typer.Option(help="Decimal amount a million tokens of answer.")] = "0",
    per_megabyte: Annotated[str, typer.Option(help="Decimal amount a megabyte of requests and replies.")] = "0",
    tier: Annotated[
        list[str] | None,
        typer.Option(metavar="UNIT:FROM:PRICE", help="A lower price from a quantity in a month on; may be repeated."),
    ] = None,
    currency: Annotated[str, typer.Option(help="Three letters.")] = "EUR",
    as_json: AsJson = False,
) -> None:
    """Set a list price for calls from now on; what was priced before stays. Prices of plans come with the plan.

    Units of tiers are calls, compute_seconds, input_tokens, cached_tokens, output_tokens and megabytes.

    Example: `airserve prices set digits --per-call 0.0001 --tier calls:100000:0.00008`, or
    `airserve prices set chat --per-million-input-tokens 0.20 --per-million-output-tokens 0.80`
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
            per_megabyte_nano=nano_of(per_megabyte),
            tiers=_tiers(tier or []),
            currency=currency,
            now_ns=time.time_ns(),
        )
    if as_json:
        print_json(msgspec.to_builtins(new))
    else:
        console.print(f"price {new.id} of {model}: {price_text(new)}", highlight=False)


@prices.command("list")
def list_command(state_dir: StateDir, as_json: AsJson = False) -> None:
    """The prices that hold now, of the list and of every plan. Example: `airserve prices list`."""
    from airserve.metering.prices import load_prices

    with open_database(state_dir) as database:
        book = load_prices(database)
        plans = _plan_names(database)
    found = [*book.by_model.values(), *book.by_plan.values()]
    if as_json:
        print_json(msgspec.to_builtins(found))
        return
    rows: list[dict[str, Any]] = [
        {
            "id": each.id,
            "plan": plans.get(each.plan_id, each.plan_id) if each.plan_id else "",
            "model": each.model,
            "price": price_text(each),
        }
        for each in found
    ]
    print_rows(
        rows, as_json=False, title="Prices", empty="no price yet: calls are free; see airserve prices set --help"
    )


def price_text(price: Price) -> str:
    """The parts that are not 0, in words."""
    from airserve.metering.money import amount_text
    from airserve.metering.prices import first_price_nano
    from airserve.metering.units import UNITS

    parts = []
    for unit in UNITS.values():
        steps = [(0, first_price_nano(price, unit.name)), *price.tiers.get(unit.name, ())]
        if steps[0][1]:
            first, *later = [f"{amount_text(nano)} {price.currency}" for _, nano in steps]
            from_on = [f"{text} from {quantity} on" for text, (quantity, _) in zip(later, steps[1:], strict=True)]
            parts.append(" then ".join([f"{first} {unit.what}", *from_on]))
    return ", ".join(parts) or "free"


def _tiers(texts: list[str]) -> dict[str, list[Step]]:
    from airserve.core.errors import InvalidInputError
    from airserve.metering.money import nano_of
    from airserve.metering.tiers import Step
    from airserve.metering.units import unit_of

    found: dict[str, list[Step]] = {}
    for text in texts:
        unit, _, rest = text.partition(":")
        quantity, _, price = rest.partition(":")
        if not (quantity.isascii() and quantity.isdigit() and len(quantity) <= 18):
            raise InvalidInputError(f"'{text[:60]}' is no tier; write it like calls:100000:0.00008")
        found.setdefault(unit_of(unit).name, []).append(Step(int(quantity), nano_of(price)))
    return {unit: sorted(steps) for unit, steps in found.items()}


def _plan_names(database: Any) -> dict[str, str]:
    from airserve.accounts.plans import list_plans

    return {plan.id: f"{plan.code}@{plan.version}" for plan in list_plans(database)}
