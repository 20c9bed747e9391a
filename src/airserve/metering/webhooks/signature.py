"""Signing a webhook so that its receiver can tell that it is ours (https://www.standardwebhooks.com, HMAC-SHA256).

A secret is `whsec_` and 32 random bytes in base64. It must be readable to sign with, so it is kept under a key that is
derived from the pepper and is not in the database.
"""

from __future__ import annotations

import base64
import hmac
import secrets
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from airserve.core.errors import AirserveError

PREFIX = "whsec_"
_SECRET_BYTES, _NONCE_BYTES = 32, 12
_PURPOSE = b"airserve webhook secrets"


def new_secret() -> str:
    """A secret as its receiver is given it."""
    return PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def signature_headers(secret: str, message_id: str, timestamp_s: int, body: bytes) -> dict[str, str]:
    """The three headers of Standard Webhooks; the signature is over id, time and body."""
    key = base64.b64decode(secret.removeprefix(PREFIX))
    signed = f"{message_id}.{timestamp_s}.".encode() + body
    signature = base64.b64encode(hmac.new(key, signed, sha256).digest()).decode()
    return {"webhook-id": message_id, "webhook-timestamp": str(timestamp_s), "webhook-signature": f"v1,{signature}"}


def seal_secret(secret: str, pepper: bytes, endpoint_id: str) -> bytes:
    """The secret as the database may hold it: AES-256-GCM, bound to its endpoint."""
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return nonce + AESGCM(_key(pepper)).encrypt(nonce, secret.encode(), endpoint_id.encode())


def open_secret(sealed: bytes, pepper: bytes, endpoint_id: str) -> str:
    """The inverse. Raises `AirserveError` under another pepper, or for the secret of another endpoint."""
    try:
        plain = AESGCM(_key(pepper)).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], endpoint_id.encode())
    except InvalidTag:
        raise AirserveError(
            f"the secret of webhook {endpoint_id} cannot be read: it was stored under another pepper, or changed"
        ) from None
    return plain.decode()


def _key(pepper: bytes) -> bytes:
    return HKDF(SHA256(), 32, None, _PURPOSE).derive(pepper)
