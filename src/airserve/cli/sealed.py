"""`airserve sealed`: whose keys sealed calls are sealed to."""

from __future__ import annotations

import typer

from airserve.cli.output import AsJson, fail, print_json
from airserve.cli.state import StateDir

sealed = typer.Typer(no_args_is_help=True, help="Sealed calls: the identity that signs the keys of sealed models.")


def register(app: typer.Typer) -> None:
    """Add the noun to the application."""
    app.add_typer(sealed, name="sealed")


@sealed.command()
def identity(state_dir: StateDir, as_json: AsJson = False) -> None:
    """The service's public identity, made if there is none yet: give it to clients, as `sealed_identity`.

    Example: `airserve sealed identity`
    """
    try:
        from airserve.codecs.sealed_key import public_text
        from airserve.engines.options import IDENTITY
        from airserve.engines.sealed_identity import load_or_create_identity
    except ImportError as error:
        fail(f"this command needs the server's packages ({error.name}): pip install 'airserve[server]'")
    text = public_text(load_or_create_identity(state_dir.expanduser().resolve() / IDENTITY))
    if as_json:
        print_json({"identity": text})
    else:
        # Bare, so that a script can take it as it is.
        typer.echo(text)
