from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.bindings._rust import openssl
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hpke import MLKEM768X25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from airserve.codecs import sealed_message as wire
from airserve.codecs.sealed_suite import AEAD_IDS, KEM_IDS, PrivateKey, SealedSuite, key_id_of
from airserve.core.errors import SealedKeyError, UnsealError

VECTORS: list[dict[str, Any]] = json.loads(Path(__file__).with_name("hpke_vectors.json").read_text())
SUITES = [SealedSuite(kem=kem, aead=aead) for kem in KEM_IDS for aead in AEAD_IDS]
HEADER = wire.Header(b"12345678", 0x647A, 1, 2, b"c" * 32)
KEYS = {suite: suite.generate() for suite in SUITES}


def private_key(vector: dict[str, Any]) -> PrivateKey:
    secret = bytes.fromhex(vector["sk"])
    if vector["kem"] == KEM_IDS["X25519"]:
        return X25519PrivateKey.from_private_bytes(secret)
    # X-Wing derives both keys from one seed (draft-connolly-cfrg-xwing-kem §5.2).
    both = hashlib.shake_256(secret).digest(96)
    return MLKEM768X25519PrivateKey(
        MLKEM768PrivateKey.from_seed_bytes(both[:64]), X25519PrivateKey.from_private_bytes(both[64:])
    )


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["source"])
def test_published_vectors_open(vector: dict[str, Any]) -> None:
    suite = SealedSuite.of(vector["kem"], vector["kdf"], vector["aead"])
    enc, ct, info, authenticated = (bytes.fromhex(vector[name]) for name in ("enc", "ct", "info", "authenticated"))
    private = private_key(vector)
    assert suite.enc(enc + ct) == enc
    if authenticated:
        # Ours carry nothing beside the seal; the published ones do, which the library offers for such tests alone.
        plaintext = openssl.hpke._decrypt_with_aad(suite._suite, enc + ct, private, info, authenticated)
    else:
        plaintext = suite.open(enc + ct, private, info)
    assert plaintext.hex() == vector["pt"]


@pytest.mark.parametrize("suite", SUITES, ids=str)
def test_what_was_sealed_opens_with_its_key_and_info_alone(suite: SealedSuite) -> None:
    private, public = KEYS[suite]
    sealed = suite.seal(b"plaintext", public, b"info")
    assert suite.open(sealed, private, b"info") == b"plaintext"
    assert SealedSuite.of(*suite.ids) == suite
    for key, info in ((suite.generate()[0], b"info"), (private, b"other")):
        with pytest.raises(UnsealError):
            suite.open(sealed, key, info)
    assert suite.enc(sealed) != suite.enc(suite.seal(b"plaintext", public, b"info"))


@settings(max_examples=300)
@given(suite=st.sampled_from(SUITES), place=st.integers(0, 1 << 20), flip=st.integers(1, 255), cut=st.booleans())
def test_no_mutant_of_a_seal_opens(suite: SealedSuite, place: int, flip: int, cut: bool) -> None:
    private, public = KEYS[suite]
    sealed = bytearray(suite.seal(b"plaintext", public, b"info"))
    place %= len(sealed)
    if cut:
        del sealed[place:]
    else:
        sealed[place] ^= flip
    with pytest.raises(UnsealError):
        suite.open(bytes(sealed), private, b"info")


# RFC 7748 §6.1: with these the shared secret would be all zero, whatever the private key.
@pytest.mark.parametrize("point", [0, 1, (1 << 255) - 19, (1 << 255) - 18, (1 << 255) - 20])
def test_points_of_low_order_open_nothing(point: int) -> None:
    suite = SealedSuite(kem="X25519")
    with pytest.raises(UnsealError):
        suite.open(point.to_bytes(32, "little") + bytes(40), suite.generate()[0], b"")


@pytest.mark.parametrize("suite", SUITES[::2], ids=str)
def test_a_reply_opens_for_its_own_call_alone(suite: SealedSuite) -> None:
    sealed = suite.seal_reply(b"s" * 32, b"enc", HEADER, "reply", b"answer")
    assert suite.open_reply(b"s" * 32, b"enc", HEADER, "reply", sealed) == b"answer"
    other = wire.Header(b"87654321", 0x647A, 1, 2, b"c" * 32)
    for wrong in (
        (b"t" * 32, b"enc", HEADER, "reply", sealed),
        (b"s" * 32, b"cne", HEADER, "reply", sealed),
        (b"s" * 32, b"enc", other, "reply", sealed),
        (b"s" * 32, b"enc", HEADER, "reason", sealed),
        (b"s" * 32, b"enc", HEADER, "reply", sealed[:-1]),
        (b"s" * 32, b"enc", HEADER, "reply", b""),
    ):
        with pytest.raises(UnsealError):
            suite.open_reply(*wrong)  # type: ignore[arg-type]
    assert suite.seal_reply(b"s" * 32, b"enc", HEADER, "reply", b"answer") != sealed


def test_a_suite_or_a_key_that_is_none_is_a_problem_of_the_key() -> None:
    for ids in ((0x10, 1, 1), (0x20, 3, 1), (0x20, 1, 0xFFFF)):
        with pytest.raises(SealedKeyError):
            SealedSuite.of(*ids)
    for suite in SUITES[:4]:
        with pytest.raises(SealedKeyError):
            suite.seal(b"", b"short", b"")
    assert key_id_of(0x20, b"a") != key_id_of(0x647A, b"a")
