"""The identity of a service: the Ed25519 key that signs the keys of its sealed models."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from airserve.core.errors import AirserveError
from airserve.core.made_once import read_or_make


def load_or_create_identity(file: Path) -> Ed25519PrivateKey:
    """The key in `file` (PKCS #8, PEM), made if there is none yet; whoever makes it at the same time gets the same."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    content = read_or_make(file, _new_identity, 0o600)
    try:
        identity = load_pem_private_key(content, None)
    except (ValueError, TypeError) as error:
        raise AirserveError(f"{file} holds no private key: {error}; restore it from a backup") from None
    if not isinstance(identity, Ed25519PrivateKey):
        raise AirserveError(f"{file} holds a key of another kind than Ed25519; restore it from a backup")
    return identity


def _new_identity() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
