"""`airserve up`: the whole service with one command; the first start makes all that it needs."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from airserve.cli.output import console, print_json
from airserve.cli.state import StateDir

if TYPE_CHECKING:
    from airserve.cli.first_start import Credentials
    from airserve.server.settings import Settings
    from airserve.server.supervisor import Address

_HELP = """Start the service: one process tree on one port that speaks HTTP/1.1, HTTP/2 and HTTP/3.

The first start creates the state folder, an operator, a demo tenant and a development CA, and trains and
publishes a model of handwritten digits. It prints the URL, the key and a `curl` line that works as pasted.
Stop it with Ctrl-C or SIGTERM: accepted calls finish, new ones get 503.

Settings also come from `settings.toml` in the state folder and from the environment (`AIRSERVE_PORT=9443`);
flags win. Example: `airserve up --host 0.0.0.0 --port 443 --tls-cert chain.pem --tls-key key.pem`
"""


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("up", help=_HELP)(up)


def up(
    state_dir: StateDir,
    host: Annotated[str | None, typer.Option(help="Address to listen on; 0.0.0.0 for every network.")] = None,
    port: Annotated[int | None, typer.Option(help="The one port, TCP and UDP; 0 for any that is free.")] = None,
    database_url: Annotated[
        str | None, typer.Option(help="PostgreSQL that several servers can share: postgresql://user@host/name.")
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate chain, PEM.", exists=True)] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key, PEM.", exists=True)] = None,
    ready_file: Annotated[
        Path | None, typer.Option(help="Write a JSON object here once ready: url, http_url, ca, key, models, pid …")
    ] = None,
    demo: Annotated[bool, typer.Option(help="Train and publish the digits model at first start.")] = True,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the ready object instead of text.")] = False,
) -> None:
    """Run the service until it is told to stop."""
    import asyncio

    from airserve.cli.first_start import prepare
    from airserve.server.settings import load_settings
    from airserve.server.supervisor import serve

    settings = load_settings(
        state_dir,
        database_url=database_url,
        host=host,
        port=port,
        tls_cert=tls_cert,
        tls_key=tls_key,
        log_level=log_level,
    )
    if ready_file is not None:
        ready_file.unlink(missing_ok=True)
    credentials = prepare(settings, demo=demo)

    def on_ready(address: Address) -> None:
        ready = _ready_object(address, credentials, settings)
        credentials.save(settings.state_dir, url=address.url, ca=address.ca)
        if as_json:
            print_json(ready)
        else:
            _print_welcome(ready, address)
        # Last: whoever waits for the file finds all that was said.
        if ready_file is not None:
            _write_private(ready_file, json.dumps(ready, indent=2))

    raise typer.Exit(asyncio.run(serve(settings, on_ready)))


def _ready_object(address: Address, credentials: Credentials, settings: Settings) -> dict[str, Any]:
    from airserve.server.installation import open_catalog, open_database

    database = open_database(settings)
    try:
        models = sorted({spec.model for spec in open_catalog(settings, database).deployments()})
    finally:
        database.close()
    return {
        "url": address.url,
        "http_url": address.http_url,
        "ca": str(address.ca) if address.ca else None,
        "key": credentials.key,
        "operator_key": credentials.operator_key,
        "models": models,
        "pid": os.getpid(),
    }


def _write_private(path: Path, text: str) -> None:
    """Appears whole, and is readable to its owner alone: it holds keys."""
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text + "\n")
    temporary.replace(path)


def _print_welcome(ready: dict[str, Any], address: Address) -> None:
    console.print(f"\n[bold green]Airserve is up[/] at [bold]{ready['url']}[/]  (HTTP/1.1, HTTP/2, HTTP/3)")
    console.print(f"  models        {', '.join(ready['models']) or 'none yet; see airserve publish --help'}")
    # Printed raw: wrapping or markup would break what is meant to be pasted.
    typer.echo(f"  tenant key    {ready['key']}")
    typer.echo(f"  operator key  {ready['operator_key']}")
    if "digits" in ready["models"]:
        console.print("\nAsk it which digit this is; the answer's label is an 8:\n")
        typer.echo(_curl_line(ready, address))
    console.print("\nStop with Ctrl-C.\n")


def _curl_line(ready: dict[str, Any], address: Address) -> str:
    from airserve.cli.first_start import EXAMPLE_EIGHT

    request = {
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 64], "data": EXAMPLE_EIGHT}],
        "outputs": [{"name": "label"}],
    }
    parts = [
        "curl", "--silent", "--http2", *(["--cacert", str(address.ca)] if address.ca else []),
        f"{ready['url']}/v2/models/digits/infer",
        "-H", f"Authorization: Bearer {ready['key']}",
        "-d", json.dumps(request, separators=(",", ":")),
    ]  # fmt: skip
    return shlex.join(parts)
