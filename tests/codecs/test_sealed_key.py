from __future__ import annotations

import base64

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from airserve.codecs.sealed_key import FORMAT, KeyConfig, SignedKey, public_text, sign, verify
from airserve.codecs.sealed_suite import key_id_of
from airserve.core.errors import SealedKeyError

IDENTITY = Ed25519PrivateKey.generate()
CONFIG = KeyConfig(
    format=FORMAT,
    key_id=key_id_of(0x20, b"p" * 32).hex(),
    kem=0x20,
    kdf=1,
    aead=2,
    public_key=base64.b64encode(b"p" * 32).decode(),
    model="m",
    version=1,
    package="ab",
    not_before=1.0,
    renew_at=2.0,
    not_after=3.0,
)


def test_what_an_identity_signed_is_its_own() -> None:
    assert verify(sign(CONFIG, IDENTITY), public_text(IDENTITY)) == CONFIG


def test_no_other_signature_text_or_identity_is_taken() -> None:
    signed, identity = sign(CONFIG, IDENTITY), public_text(IDENTITY)
    other = sign(CONFIG, Ed25519PrivateKey.generate())
    # Signed, but not in this format's name.
    bare = base64.b64encode(IDENTITY.sign(signed.config.encode())).decode()
    for forged in (
        other,
        SignedKey(signed.config.replace('"m"', '"n"'), signed.signature),
        SignedKey(signed.config, bare),
        SignedKey(signed.config, ""),
        sign(msgspec.structs.replace(CONFIG, format="another"), IDENTITY),
        sign(msgspec.structs.replace(CONFIG, public_key=base64.b64encode(b"q" * 32).decode()), IDENTITY),
    ):
        with pytest.raises(SealedKeyError):
            verify(forged, identity)
    for wrong in (public_text(Ed25519PrivateKey.generate()), "", "no base64", identity[:-8]):
        with pytest.raises(SealedKeyError):
            verify(signed, wrong)
