"""The public key of a model's worker, signed with the identity of its service."""

from __future__ import annotations

import base64

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from airserve.codecs.sealed_suite import SealedSuite, key_id_of
from airserve.core.errors import SealedKeyError

FORMAT = "airserve-sealed-key-1"

_SIGNED = FORMAT.encode() + b"\0"


class KeyConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What is signed. Times are seconds of UTC: seal to the key from `not_before` to `renew_at`; it opens calls until
    `not_after`. `package` is the SHA-256 of the package that the worker loaded.
    """

    format: str
    key_id: str
    kem: int
    kdf: int
    aead: int
    public_key: str
    model: str
    version: int
    package: str
    not_before: float
    renew_at: float
    not_after: float

    @property
    def suite(self) -> SealedSuite:
        """Raises `SealedKeyError` for one that is not spoken here."""
        return SealedSuite.of(self.kem, self.kdf, self.aead)

    @property
    def public(self) -> bytes:
        """The public key as bytes."""
        return base64.b64decode(self.public_key)


class SignedKey(msgspec.Struct, frozen=True):
    """`config` is the JSON of a `KeyConfig`: exactly these bytes are signed; `signature` is Ed25519 in Base64."""

    config: str
    signature: str


class KeyDocument(msgspec.Struct, frozen=True):
    """What a service answers for a model: its key now, and its own identity, Ed25519 in Base64."""

    identity: str
    key: SignedKey


def sign(config: KeyConfig, identity: Ed25519PrivateKey) -> SignedKey:
    """`config`, signed."""
    text = msgspec.json.encode(config)
    return SignedKey(text.decode(), base64.b64encode(identity.sign(_SIGNED + text)).decode())


def public_text(identity: Ed25519PrivateKey) -> str:
    """The public half of an identity as people pass it on."""
    return base64.b64encode(identity.public_key().public_bytes_raw()).decode()


def verify(signed: SignedKey, identity: str) -> KeyConfig:
    """The config that `identity` signed. Raises `SealedKeyError` where it did not, or where it makes no sense."""
    try:
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(identity, validate=True))
        key.verify(base64.b64decode(signed.signature), _SIGNED + signed.config.encode())
        config = msgspec.json.decode(signed.config, type=KeyConfig)
        if config.format != FORMAT or key_id_of(config.kem, config.public).hex() != config.key_id:
            raise ValueError
    except InvalidSignature:
        raise SealedKeyError(f"the key of the service is not signed by the identity {identity[:60]}") from None
    except (ValueError, msgspec.MsgspecError):
        raise SealedKeyError("the identity, or the key of the service, is malformed") from None
    return config
