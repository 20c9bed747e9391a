"""`airserve keys`: what opens the service."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from airserve.cli.output import AsJson, console, error_console, print_json, print_rows
from airserve.cli.state import StateDir, open_database, pepper_of, utc
from airserve.cli.times import length_ns
from airserve.core.errors import InvalidInputError

if TYPE_CHECKING:
    from airserve.accounts.keys import KeyInfo

KeyOrId = Annotated[str, typer.Argument(metavar="KEY", help="The key's id, or the whole key.")]
_ROUTES = "infer, chat, completions, embeddings, generate, read"

keys = typer.Typer(no_args_is_help=True, help="API keys: create, list, rotate, inspect, revoke.")


def register(app: typer.Typer) -> None:
    """Add the noun to the application."""
    app.add_typer(keys, name="keys")


@keys.command()
def create(
    state_dir: StateDir,
    tenant: Annotated[str | None, typer.Argument(help="The tenant's name or id.")] = None,
    operator: Annotated[bool, typer.Option("--operator", help="A key for the operator, not for a tenant.")] = False,
    project: Annotated[str | None, typer.Option(help="Of this project; 'default' without.")] = None,
    member: Annotated[str | None, typer.Option(help="A member's key, by e-mail: for the control API alone.")] = None,
    models: Annotated[str | None, typer.Option(help="Only these models, separated by commas.")] = None,
    routes: Annotated[str | None, typer.Option(help=f"Only these of {_ROUTES}.")] = None,
    addresses: Annotated[str | None, typer.Option(help="Only from these networks: 10.1.0.0/16,2001:db8::/32.")] = None,
    name: Annotated[str, typer.Option(help="What the key is for.")] = "",
    expires: Annotated[str | None, typer.Option(help="After this time: 12h, 30d …")] = None,
    not_before: Annotated[str | None, typer.Option(help="Not before this time from now: 12h, 30d …")] = None,
    certificate: Annotated[
        str | None, typer.Option(help="Only with this client certificate: a PEM file, or its SHA-256.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """A new key, shown this once.

    Example: `airserve keys create acme --models digits --expires 30d` or
    `airserve keys create acme --project "line 4" --routes infer,read --addresses 10.1.0.0/16`
    """
    from airserve.accounts import create_key

    if operator == (tenant is not None):
        raise InvalidInputError("say whose key it is: a tenant's name, or --operator")
    now_ns = time.time_ns()
    with open_database(state_dir) as database:
        key, info = create_key(
            database,
            pepper_of(state_dir, database),
            now_ns=now_ns,
            tenant=tenant,
            name=name,
            models=_parts(models),
            expires_ns=now_ns + length_ns(expires) if expires else None,
            project=project,
            member=member,
            routes=_parts(routes),
            addresses=_parts(addresses),
            not_before_ns=now_ns + length_ns(not_before) if not_before else None,
            cert_sha256=_sha256_of(certificate) if certificate else None,
        )
    _say_new(key, info, as_json)


@keys.command("list")
def list_all(
    state_dir: StateDir,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's keys.")] = None,
    as_json: AsJson = False,
) -> None:
    """All keys, without their secrets. Example: `airserve keys list --tenant acme`."""
    from airserve.accounts import list_keys

    with open_database(state_dir) as database:
        found = list_keys(database, tenant)
    rows = [_columns(key) for key in found] if as_json else [_row(key) for key in found]
    print_rows(rows, as_json=as_json, title="Keys", empty="no key yet; see airserve keys create --help")


@keys.command()
def rotate(
    key: KeyOrId,
    state_dir: StateDir,
    overlap: Annotated[str, typer.Option(help="How long the old key stays good: 0s to 24h.")] = "24h",
    as_json: AsJson = False,
) -> None:
    """A new key in place of another; usage and budgets go on.

    Example: `airserve keys rotate JBnB5BdlwLgi --overlap 1h`
    """
    from airserve.accounts.key_rotation import rotate_key

    with open_database(state_dir) as database:
        pepper = pepper_of(state_dir, database)
        new, info = rotate_key(database, pepper, key, now_ns=time.time_ns(), overlap_ns=length_ns(overlap))
    _say_new(new, info, as_json)


@keys.command()
def inspect(
    text: Annotated[str, typer.Argument(help="A key, or any text with keys in it; - reads standard input.")],
    state_dir: StateDir,
    as_json: AsJson = False,
) -> None:
    """Whether a text that turned up somewhere holds keys of ours, and whose.

    Prefix and checksum tell a key from noise; a key is ours only where its whole text is, not its id alone.

    Example: `airserve keys inspect - < leak.txt`
    """
    from airserve.accounts.key_format import keys_in
    from airserve.accounts.key_inspection import inspect_key

    found = keys_in(sys.stdin.read() if text == "-" else text)
    if not found:
        raise InvalidInputError("there is no key of Airserve in it: no prefix with a checksum that fits")
    now_ns = time.time_ns()
    with open_database(state_dir) as database:
        pepper = pepper_of(state_dir, database)
        results = [inspect_key(database, pepper, key, now_ns=now_ns) for key in found]
    rows: list[dict[str, Any]] = [
        {
            "id": result.id,
            "kind": _KINDS[result.kind],
            "state": result.state,
            "ours": result.info is not None,
            "tenant": result.info.tenant if result.info else None,
            "whose": (result.info.project or result.info.member) if result.info else None,
            "name": result.info.name if result.info else None,
            "last used": utc(result.info.last_used_ns) if result.info else None,
        }
        for result in results
    ]
    print_rows(rows, as_json=as_json, title="Keys found", empty="")
    if not as_json and any(result.state in ("active", "not yet valid") for result in results):
        console.print("revoke what has leaked: airserve keys revoke ID", highlight=False)


@keys.command()
def revoke(key: KeyOrId, state_dir: StateDir, as_json: AsJson = False) -> None:
    """Revoke a key; a running service refuses it within a second. Example: `airserve keys revoke JBnB5BdlwLgi`."""
    from airserve.accounts import revoke_key

    with open_database(state_dir) as database:
        revoked = revoke_key(database, key, now_ns=time.time_ns())
    if as_json:
        print_json({"id": revoked, "revoked": True})
    else:
        console.print(f"revoked {revoked}", highlight=False)


_KINDS = {"tenant": "service", "member": "member", "operator": "operator"}


def _row(key: KeyInfo) -> dict[str, Any]:
    """What fits a terminal; `--json` has the rest."""
    from airserve.accounts.key_inspection import key_state

    confined = [
        f"{what}: {', '.join(names)}"
        for what, names in (("models", key.models), ("routes", key.routes), ("from", key.addresses))
        if names is not None
    ]
    return {
        "id": key.id,
        "of": f"{key.tenant}/{key.project or key.member}" if key.tenant else "(operator)",
        "name": key.name,
        "opens": "; ".join(confined) or "all",
        "state": key_state(key, time.time_ns()),
        "expires": utc(key.expires_ns),
        "last used": utc(key.last_used_ns),
    }


def _columns(key: KeyInfo) -> dict[str, Any]:
    from airserve.accounts.key_inspection import key_state

    times = ("created", "not_before", "expires", "revoked", "last_used")
    return {
        **{name: value for name, value in asdict(key).items() if not name.endswith("_ns")},
        "kind": _KINDS[key.kind],
        "state": key_state(key, time.time_ns()),
        **{name: utc(getattr(key, f"{name}_ns")) for name in times},
    }


def _say_new(key: str, info: KeyInfo, as_json: bool) -> None:
    if as_json:
        print_json({"key": key, **asdict(info)})
        return
    typer.echo(key)
    # Not on standard output, so that KEY=$(airserve keys create …) is the key alone.
    error_console.print(f"key {info.id}, shown this once: keep it where only its user can read it", highlight=False)


def _parts(text: str | None) -> list[str] | None:
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


def _sha256_of(certificate: str) -> str:
    """The SHA-256 of a certificate's DER form, from a PEM file, or as it was given."""
    file = Path(certificate)
    if not file.is_file():
        return certificate.replace(":", "").lower()
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.x509 import load_pem_x509_certificate

    try:
        return load_pem_x509_certificate(file.read_bytes()).fingerprint(SHA256()).hex()
    except ValueError as error:
        raise InvalidInputError(f"{file} holds no certificate in PEM: {error}") from None
