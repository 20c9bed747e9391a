"""`airserve store`: how packages lie on the disk, and the key that they are encrypted under."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from airserve.cli.output import AsJson, console, print_json, print_rows
from airserve.cli.state import StateDir, open_catalog
from airserve.core.errors import InvalidInputError

store = typer.Typer(no_args_is_help=True, help="Packages at rest: list, new-key, encrypt, rotate-key, drop-key.")


def register(app: typer.Typer) -> None:
    """Add the noun to the application."""
    app.add_typer(store, name="store")


@store.command("list")
def list_packages(state_dir: StateDir, as_json: AsJson = False) -> None:
    """Every package on the disk: encrypted or not, under which keys, signed or not. Example: `airserve store list`."""
    with open_catalog(state_dir) as catalog:
        named = {info.address: f"{info.model} {info.version}" for info in catalog.list()}
        rows: list[dict[str, Any]] = [
            {
                "package": info.address if as_json else info.address[:12],
                "model": named.get(info.address, ""),
                "encrypted": info.encrypted,
                "keys": list(info.keys) if as_json else ", ".join(info.keys),
                "signed": info.signed,
            }
            for info in catalog.store.infos()
        ]
    print_rows(rows, as_json=as_json, title="Packages", empty="the store is empty")


@store.command("new-key")
def new_key(
    path: Annotated[Path, typer.Argument(help="Where the key goes: 32 random bytes in Base64, mode 0600.")],
    as_json: AsJson = False,
) -> None:
    """Make a key for the store. Whoever loses it loses the packages: keep a copy elsewhere.

    Example: `airserve store new-key /etc/airserve/store.key`
    """
    from airserve.models.store_key import new_key_file

    made = new_key_file(path)
    if as_json:
        print_json({"key_file": str(path), "key_id": made.id})
        return
    console.print(
        f"key {made.id} in {path}; name it as store_key_file in the settings", highlight=False, soft_wrap=True
    )


@store.command()
def encrypt(state_dir: StateDir, as_json: AsJson = False) -> None:
    """Encrypt the packages that lie in plaintext, in place; those published later are encrypted from the start.

    Example: `airserve store encrypt`
    """
    with open_catalog(state_dir) as catalog, catalog.publishing():
        done = catalog.store.encrypt_all()
    _say(done, "encrypted", as_json)


@store.command("rotate-key")
def rotate_key(
    state_dir: StateDir,
    new_key_file: Annotated[Path | None, typer.Option(help="The new key, as airserve store new-key makes it.")] = None,
    new_kms_command: Annotated[str | None, typer.Option(help="The program that holds the new key.")] = None,
    as_json: AsJson = False,
) -> None:
    """Let every package open with a new key too. Chunks of weights are not touched.

    Then put the new key into the settings, restart the service, and forget the old key with `airserve store drop-key`.
    Example: `airserve store rotate-key --new-key-file new.key`
    """
    from airserve.models.store_key import load_store_key

    new = load_store_key(new_key_file, new_kms_command, environment={})
    if new is None:
        raise InvalidInputError("name the new key: --new-key-file or --new-kms-command")
    with open_catalog(state_dir) as catalog, catalog.publishing():
        done = catalog.store.rewrap(new)
    _say(done, f"open with key {new.id} too", as_json, key_id=new.id)


@store.command("drop-key")
def drop_key(
    key_id: Annotated[str, typer.Argument(help="The id of the key, as airserve store list shows it.")],
    state_dir: StateDir,
    as_json: AsJson = False,
) -> None:
    """Forget what a key wrapped, after a rotation; refused where a package would have no key left.

    Example: `airserve store drop-key 1f3a…`
    """
    with open_catalog(state_dir) as catalog, catalog.publishing():
        done = catalog.store.drop_key(key_id)
    _say(done, f"do not open with key {key_id} any more", as_json, key_id=key_id)


def _say(packages: int, what: str, as_json: bool, **more: str) -> None:
    if as_json:
        print_json({"packages": packages, **more})
    else:
        console.print(f"{packages} packages {what}", highlight=False)
