"""The identity of a service: the Ed25519 key that signs the keys of its sealed models."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from airserve.core.errors import AirserveError


def load_or_create_identity(file: Path) -> Ed25519PrivateKey:
    """The key in `file` (PKCS #8, PEM), made if there is none yet; whoever makes it at the same time gets the same."""
    if not file.exists():
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = Ed25519PrivateKey.generate()
        draft = file.with_name(f"identity-{secrets.token_hex(8)}.new")
        with open(draft, "xb", opener=lambda path, flags: os.open(path, flags, 0o600)) as out:
            out.write(new.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
            out.flush()
            os.fsync(out.fileno())
        try:
            # Unlike a rename, a link replaces nothing.
            os.link(draft, file)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    try:
        identity = load_pem_private_key(file.read_bytes(), None)
    except (ValueError, TypeError) as error:
        raise AirserveError(f"{file} holds no private key: {error}; restore it from a backup") from None
    if not isinstance(identity, Ed25519PrivateKey):
        raise AirserveError(f"{file} holds a key of another kind than Ed25519; restore it from a backup")
    return identity
