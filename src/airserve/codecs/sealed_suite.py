"""Sealing itself: HPKE in its base mode (RFC 9180), and the reply under a secret that came inside the call.

The hybrid KEM is X-Wing, ML-KEM-768 with X25519 (draft-connolly-cfrg-xwing-kem): a recording of today stays closed to
a quantum computer of tomorrow unless both are broken. HPKE itself is that of `cryptography`.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import Literal

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from airserve.codecs.sealed_message import FLAT, Header
from airserve.core.errors import SealedKeyError, UnsealError

PrivateKey = X25519PrivateKey | MLKEM768X25519PrivateKey

# RFC 9180 §7.1 to §7.3, and the IANA registry of HPKE for what came later.
KEM_IDS = {"X25519": 0x0020, "MLKEM768_X25519": 0x647A}
KDF_IDS = {"HKDF_SHA256": 0x0001}
AEAD_IDS = {"AES_128_GCM": 0x0001, "AES_256_GCM": 0x0002, "CHACHA20_POLY1305": 0x0003}

_ENC_BYTES = {"X25519": 32, "MLKEM768_X25519": 1120}
_KEY_BYTES = {"AES_128_GCM": 16, "AES_256_GCM": 32, "CHACHA20_POLY1305": 32}
_NONCE_BYTES = 12
_SALT_BYTES = 32


@dataclass(frozen=True, slots=True)
class SealedSuite:
    """One choice of algorithms, by their names in `cryptography`."""

    kem: str = "MLKEM768_X25519"
    kdf: str = "HKDF_SHA256"
    aead: str = "AES_256_GCM"

    @classmethod
    def of(cls, kem: int, kdf: int, aead: int) -> SealedSuite:
        """The suite with these identifiers. Raises `SealedKeyError` for one that is not spoken here."""
        names = [
            next((name for name, known in table.items() if known == number), None)
            for table, number in ((KEM_IDS, kem), (KDF_IDS, kdf), (AEAD_IDS, aead))
        ]
        if names[0] is None or names[1] is None or names[2] is None:
            raise SealedKeyError(f"the suite KEM {kem:#06x}, KDF {kdf:#06x}, AEAD {aead:#06x} is not spoken here")
        return cls(names[0], names[1], names[2])

    @property
    def ids(self) -> tuple[int, int, int]:
        """The identifiers of KEM, KDF and AEAD."""
        return KEM_IDS[self.kem], KDF_IDS[self.kdf], AEAD_IDS[self.aead]

    def generate(self) -> tuple[PrivateKey, bytes]:
        """A new key pair: the private key, and the public one as bytes (X-Wing: ML-KEM-768 ‖ X25519)."""
        x25519 = X25519PrivateKey.generate()
        public = x25519.public_key().public_bytes_raw()
        if self.kem == "X25519":
            return x25519, public
        mlkem = MLKEM768PrivateKey.generate()
        return MLKEM768X25519PrivateKey(mlkem, x25519), mlkem.public_key().public_bytes_raw() + public

    def seal(self, plaintext: bytes, public: bytes, info: bytes) -> bytes:
        """enc ‖ ciphertext ‖ tag. Raises `SealedKeyError` for a public key that is none."""
        try:
            x25519 = X25519PublicKey.from_public_bytes(public[-32:])
            if self.kem == "X25519":
                return self._suite.encrypt(plaintext, x25519, info)
            mlkem = MLKEM768PublicKey.from_public_bytes(public[:-32])
            return self._suite.encrypt(plaintext, MLKEM768X25519PublicKey(mlkem, x25519), info)
        except ValueError:
            raise SealedKeyError(f"the service's key is no public key of {self.kem}") from None

    def open(self, sealed: bytes | memoryview, private: PrivateKey, info: bytes) -> bytes:
        """The plaintext. Raises `UnsealError`, the same for whatever is wrong."""
        try:
            return self._suite.decrypt(sealed, private, info)
        except Exception:
            # Which of truncated, forged or of low order it was would help only who forges.
            raise UnsealError(FLAT) from None

    def enc(self, sealed: bytes | memoryview) -> bytes:
        """The encapsulated key at the beginning of `sealed`: no two seals have the same."""
        return bytes(sealed[: _ENC_BYTES[self.kem]])

    def seal_reply(self, secret: bytes, enc: bytes, header: Header, kind: ReplyKind, plaintext: bytes) -> bytes:
        """The reply to the call with this secret and `enc`: salt(32) ‖ ciphertext ‖ tag."""
        salt = os.urandom(_SALT_BYTES)
        aead, nonce = self._reply(secret, enc, salt, header, kind)
        return salt + aead.encrypt(nonce, plaintext, None)

    def open_reply(self, secret: bytes, enc: bytes, header: Header, kind: ReplyKind, sealed: bytes) -> bytes:
        """What `seal_reply` was given. Raises `UnsealError`."""
        try:
            aead, nonce = self._reply(secret, enc, sealed[:_SALT_BYTES], header, kind)
            return aead.decrypt(nonce, sealed[_SALT_BYTES:], None)
        except Exception:
            raise UnsealError("the sealed reply cannot be opened: it is not the answer to this call") from None

    @property
    def _suite(self) -> Suite:
        return Suite(getattr(KEM, self.kem), getattr(KDF, self.kdf), getattr(AEAD, self.aead))

    def _reply(
        self, secret: bytes, enc: bytes, salt: bytes, header: Header, kind: ReplyKind
    ) -> tuple[AESGCM | ChaCha20Poly1305, bytes]:
        """Cipher and nonce, as the response of RFC 9458 §4.4 derives them; the salt is new for each reply."""
        size = _KEY_BYTES[self.aead]
        info = b"airserve sealed " + kind.encode() + b"\0" + header.raw
        derived = HKDF(SHA256(), size + _NONCE_BYTES, salt=enc + salt, info=info).derive(secret)
        cipher = ChaCha20Poly1305 if self.aead == "CHACHA20_POLY1305" else AESGCM
        return cipher(derived[:size]), derived[size:]


ReplyKind = Literal["reply", "reason"]
"""Outputs, or the sentence of a refusal: neither can be taken for the other."""


def key_id_of(kem: int, public: bytes) -> bytes:
    """8 bytes that name a public key."""
    return hashlib.sha256(kem.to_bytes(2, "big") + public).digest()[:8]
