"""`airserve signing-key`, `airserve sign`, `airserve verify`: who answers for a package."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from airserve.cli.output import AsJson, console, fail, print_json
from airserve.cli.state import StateDir, settings_of

if TYPE_CHECKING:
    from airserve.models.signature import TrustedKeys

_Package = Annotated[Path, typer.Argument(help="A package folder or its .tar.zst.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command("signing-key")(signing_key)
    app.command("sign")(sign)
    app.command("verify")(verify)


def signing_key(
    path: Annotated[Path, typer.Argument(help="Where the private key goes; the public one lies beside it, .pub.")],
    as_json: AsJson = False,
) -> None:
    """Make a key to sign packages with (Ed25519).

    The private key stays with whoever signs; the public one goes into `trusted_model_keys` of the servers. The private
    key is encrypted where the variable AIRSERVE_SIGNING_PASSPHRASE is set. Example: `airserve signing-key release.key`
    """
    with _signing():
        from airserve.models.signature import new_key_pair

        public_file, key_id = new_key_pair(path)
    if as_json:
        print_json({"key": str(path), "public_key": str(public_file), "key_id": key_id})
        return
    console.print(f"key {key_id}: private in {path}, public in {public_file}", highlight=False, soft_wrap=True)


def sign(
    package: _Package,
    key: Annotated[Path, typer.Option(help="The private key, PEM.")],
    as_json: AsJson = False,
) -> None:
    """Sign a package: its manifest and, through SHA256SUMS, each of its files. The signature travels in the package.

    Another key's signature stays beside it. Example: `airserve sign digits --key release.key`
    """
    with _signing():
        from airserve.models.archive import pack
        from airserve.models.package import SIGNATURE_NAME, open_package
        from airserve.models.signature import key_id, package_signature, read_private_key

    private = read_private_key(key)
    with _as_folder(package) as folder:
        opened = open_package(folder)
        signature = package_signature(opened, private) or b""
        temporary = folder / f".{SIGNATURE_NAME}.new"
        temporary.write_bytes(signature)
        temporary.replace(folder / SIGNATURE_NAME)
        if not package.is_dir():
            pack(folder, package)
    signer = key_id(private.public_key())
    if as_json:
        print_json({"package": str(package), "address": opened.address, "key_id": signer})
        return
    console.print(f"signed [bold]{opened.manifest.name}[/] sha256:{opened.address[:12]} with {signer}", highlight=False)


def verify(
    package: _Package,
    state_dir: StateDir,
    key: Annotated[
        list[Path] | None, typer.Option(help="A public key to trust, PEM; those of the settings without it.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check every file of a package against its checksum, and the signature against the trusted keys.

    Exit code 3: damaged or changed. 5: not signed by a trusted key.
    Example: `airserve verify digits --key release.key.pub`
    """
    with _signing():
        from airserve.models.package import open_package
        from airserve.models.signature import TrustedKeys, check_signature, package_signature, signed_parts

    trusted: TrustedKeys = TrustedKeys.read(key or settings_of(state_dir).trusted_model_keys)
    with _as_folder(package) as folder:
        opened = open_package(folder)
        signer = check_signature(package_signature(opened, None), *signed_parts(opened), trusted)
    if as_json:
        print_json({"package": str(package), "address": opened.address, "key_id": signer})
        return
    console.print(
        f"[bold]{opened.manifest.name}[/] sha256:{opened.address[:12]} is whole, and signed by {signer}",
        highlight=False,
    )


@contextmanager
def _as_folder(package: Path) -> Iterator[Path]:
    from airserve.models.archive import unpacked

    with TemporaryDirectory(prefix="airserve-sign-") as scratch, unpacked(package, Path(scratch)) as folder:
        yield folder


@contextmanager
def _signing() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        fail(f"signing needs {error.name}: pip install 'airserve[server]'")
