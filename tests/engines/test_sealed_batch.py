"""Sealed calls against a real key ring and a model that tells how it was run; no process yet."""

from __future__ import annotations

import base64
import hmac
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from hypothesis import given, settings
from hypothesis import strategies as st

from airserve.client.exchange import HttpResponse
from airserve.client.sealing import SealedAttempt, SealedInfer
from airserve.codecs import sealed_message as wire
from airserve.codecs.sealed_key import KeyConfig, public_text, sign, verify
from airserve.codecs.sealed_suite import SealedSuite
from airserve.core.call import Tensors
from airserve.core.errors import InvalidInputError, ModelFailedError
from airserve.core.tensor import Signature, TensorSpec, zeros
from airserve.engines.sealed_batch import Result, run_sealed
from airserve.engines.sealed_keyring import KeyRing
from airserve.engines.sealed_opening import SKEW_NS, Opener
from airserve.engines.sealed_replay import ReplayCache

NOW = 1_800_000_000_000_000_000
IDENTITY = Ed25519PrivateKey.generate()


class Doubler:
    """y = 2 x; refuses what begins with 6, fails on what begins with 7."""

    signature = Signature((TensorSpec("x", "FP32", (-1, -1)),), (TensorSpec("y", "FP32", (-1, -1)),), 8)

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def run(self, inputs: Tensors) -> Tensors:
        self.shapes.append(inputs["x"].shape)
        if (inputs["x"][:, 0] == 6).any():
            raise InvalidInputError("x may not begin with 6")
        if (inputs["x"][:, 0] == 7).any():
            raise ModelFailedError("the model failed on this input: 7")
        return {"y": 2 * inputs["x"]}

    def example(self, rows: int) -> Tensors:
        return zeros(self.signature, rows)

    def close(self) -> None: ...


class House:
    """One version of a model with its keys."""

    def __init__(self, replay_entries: int = 100, kem: str = "MLKEM768_X25519") -> None:
        self.model = Doubler()
        self.ring = KeyRing(
            SealedSuite(kem),
            model="m",
            version=3,
            package="ab",
            rotate_ns=10**12,
            overlap_ns=10**11,
            sign=lambda config: sign(config, IDENTITY),
        )
        self.ring.turn(NOW)
        self.replays = ReplayCache(replay_entries)
        self.opener = Opener("m", 3, self.ring, self.replays)

    def key(self, **changes: Any) -> KeyConfig:
        config = verify(self.ring.newest.signed, public_text(IDENTITY))
        return msgspec.structs.replace(config, **changes)

    def run(self, *messages: bytes, call_id: str = "c", now: int = NOW) -> list[Result]:
        return run_sealed(self.model, self.opener, [(message, call_id) for message in messages], lambda: now)


def seal(house: House, x: Any, *, outputs: list[str] | None = None, now: int = NOW, **key: Any) -> SealedAttempt:
    call = SealedInfer("m", {"x": np.asarray(x, np.float32)}, None, outputs, "c")
    return call.seal(house.key(**key), now)


def opened(attempt: SealedAttempt, result: Result) -> Any:
    return attempt.open(HttpResponse(200, {"content-type": wire.MEDIA_TYPE}, result[1]))["y"].tolist()


def how(results: list[Result]) -> list[str]:
    return [answer.how for answer, _ in results]


def test_calls_that_fit_together_run_together_and_each_gets_its_own_rows() -> None:
    house = House()
    attempts = [seal(house, x) for x in ([[1, 1]], [[2, 2], [3, 3]], [[4]], [[5, 5]])]
    results = house.run(*(attempt.request.body for attempt in attempts))
    assert [opened(*pair) for pair in zip(attempts, results, strict=True)] == [
        [[2, 2]], [[4, 4], [6, 6]], [[8]], [[10, 10]]
    ]  # fmt: skip
    assert house.model.shapes == [(4, 2), (1, 1)]
    assert [(answer.rows, answer.batch_rows) for answer, _ in results] == [(1, 4), (2, 4), (1, 1), (1, 4)]


def test_a_run_is_never_larger_than_the_model_allows() -> None:
    house = House()
    attempts = [seal(house, np.ones((5, 2))) for _ in range(3)]
    assert how(house.run(*(attempt.request.body for attempt in attempts))) == ["answered"] * 3
    assert house.model.shapes == [(5, 2)] * 3


def test_one_bad_input_fails_alone_and_its_reason_is_for_its_client() -> None:
    house = House()
    attempts = [seal(house, [[x, 0]]) for x in (1, 6, 7, 2)]
    results = house.run(*(attempt.request.body for attempt in attempts))
    assert how(results) == ["answered", "refused", "failed", "answered"]
    assert b"begin" not in results[1][1]
    assert len(results[1][1]) == len(results[2][1])
    assert opened(attempts[3], results[3]) == [[4, 0]]


@pytest.mark.parametrize(
    ("x", "outputs"),
    [(np.ones((9, 2)), None), (np.ones((0, 2)), None), (np.ones(2), None), (np.ones((1, 2)), ["z"])],
)
def test_what_does_not_fit_the_model_is_refused_before_it_runs(x: Any, outputs: list[str] | None) -> None:
    house = House()
    results = house.run(seal(house, x, outputs=outputs).request.body)
    assert how(results) == ["refused"]
    assert b"put" not in results[0][1]
    assert house.model.shapes == []


def test_a_call_is_taken_once() -> None:
    house = House()
    body = seal(house, [[1, 1]]).request.body
    assert how(house.run(body, body)) == ["answered", "replay"]
    assert how(house.run(body)) == ["replay"]
    assert house.model.shapes == [(1, 2)]


def test_what_cannot_be_opened_never_enters_the_replay_cache() -> None:
    house = House(replay_entries=2)
    bodies = [bytearray(seal(house, [[1, 1]]).request.body) for _ in range(5)]
    for body in bodies:
        body[-1] ^= 1
    assert how(house.run(*map(bytes, bodies))) == ["unseal"] * 5
    assert len(house.replays) == 0
    good = [seal(house, [[1, 1]]).request.body for _ in range(3)]
    assert how(house.run(*good)) == ["answered", "answered", "full"]


def test_a_call_that_lies_about_its_content_is_refused() -> None:
    house = House()
    honest = SealedInfer("m", {"x": np.ones((1, 2), np.float32)}, None, None, "c").seal(house.key(), NOW)
    content = wire.write_content({"x": np.full((1, 2), 2, np.float32)})
    # Metered as the first, it would run for nothing.
    plaintext = wire.pack(wire.Inner(NOW, bytes(32), bytes(32), content))
    key = house.key()
    sealed = key.suite.seal(plaintext, key.public, wire.binding(honest.header, "m", "3", "c"))
    assert how(house.run(honest.header.raw + sealed)) == ["unseal"]


@pytest.mark.parametrize("off", [-SKEW_NS - 1, SKEW_NS + 1])
def test_a_call_from_another_time_is_refused(off: int) -> None:
    house = House()
    assert how(house.run(seal(house, [[1, 1]], now=NOW + off).request.body)) == ["clock"]
    assert how(house.run(seal(house, [[1, 1]], now=NOW + off // 2).request.body)) == ["answered"]


@pytest.mark.parametrize(
    "key",
    [{"key_id": "00" * 8}, {"kem": 0x20, "public_key": base64.b64encode(b"\x09" + bytes(31)).decode()}, {"aead": 1}],
)
def test_a_call_to_another_key_or_suite_is_a_problem_of_the_key(key: dict[str, Any]) -> None:
    house = House()
    attempt = seal(house, [[1, 1]], **key)
    assert how(house.run(attempt.request.body)) == ["key"]


@pytest.mark.parametrize("key", [{"model": "n"}, {"version": 4}])
def test_a_call_to_another_model_or_version_does_not_open(key: dict[str, Any]) -> None:
    house = House()
    assert how(house.run(seal(house, [[1, 1]], **key).request.body)) == ["unseal"]


def test_a_call_under_another_call_id_does_not_open() -> None:
    house = House()
    assert how(house.run(seal(house, [[1, 1]]).request.body, call_id="d")) == ["unseal"]


def _sealed_by_hand(key: KeyConfig, plaintext: bytes, info: bytes, enc: bytes, agreed: bytes) -> bytes:
    """HPKE's base mode (RFC 9180 §4.1, §5.1) with what X25519 would have agreed on given, as no library lets one do."""
    suite = key.suite.ids
    kem = b"KEM" + suite[0].to_bytes(2, "big")
    hpke = b"HPKE" + b"".join(number.to_bytes(2, "big") for number in suite)

    def extract(salt: bytes, label: bytes, secret: bytes, name: bytes) -> bytes:
        return hmac.digest(salt or bytes(32), b"HPKE-v1" + name + label + secret, "sha256")

    def expand(secret: bytes, label: bytes, context: bytes, size: int, name: bytes) -> bytes:
        return HKDFExpand(SHA256(), size, size.to_bytes(2, "big") + b"HPKE-v1" + name + label + context).derive(secret)

    shared = expand(extract(b"", b"eae_prk", agreed, kem), b"shared_secret", enc + key.public, 32, kem)
    context = b"\0" + extract(b"", b"psk_id_hash", b"", hpke) + extract(b"", b"info_hash", info, hpke)
    secret = extract(shared, b"secret", b"", hpke)
    nonce = expand(secret, b"base_nonce", context, 12, hpke)
    return enc + AESGCM(expand(secret, b"key", context, 32, hpke)).encrypt(nonce, plaintext, b"")


def test_a_point_of_low_order_opens_nothing() -> None:
    # With such a point both sides agree on zeros, whatever the worker's key: anybody could seal, and read what is.
    house = House(kem="X25519")
    key = house.key()
    content = wire.write_content({"x": np.ones((1, 2), np.float32)})
    usual, _ = wire.split(seal(house, [[1, 1]]).request.body)
    header = replace(usual, commitment=wire.commitment(bytes(32), content))
    plaintext, info = wire.pack(wire.Inner(NOW, bytes(32), bytes(32), content)), wire.binding(header, "m", "3", "c")
    mine = X25519PrivateKey.generate()
    agreed = mine.exchange(X25519PublicKey.from_public_bytes(key.public))
    good = _sealed_by_hand(key, plaintext, info, mine.public_key().public_bytes_raw(), agreed)
    assert how(house.run(header.raw + good)) == ["answered"]
    for point in (bytes(32), b"\1" + bytes(31), bytes.fromhex("ec" + "ff" * 30 + "7f")):
        assert how(house.run(header.raw + _sealed_by_hand(key, plaintext, info, point, bytes(32)))) == ["unseal"]


def test_a_clock_that_goes_back_opens_no_replay() -> None:
    house = House()
    body = seal(house, [[1, 1]]).request.body
    assert how(house.run(body)) == ["answered"]
    # Long enough that the call is forgotten, then back: the key has gone with the memory of the call.
    house.run(seal(house, [[1, 1]], now=NOW + 3 * SKEW_NS).request.body, now=NOW + 3 * SKEW_NS)
    assert how(house.run(body)) == ["key"]


_MUTANTS = House()
_MUTANT = seal(_MUTANTS, [[1, 1]]).request.body


@settings(max_examples=400)
@given(place=st.integers(0, len(_MUTANT) - 1), flip=st.integers(1, 255))
def test_no_mutant_of_a_call_is_taken(place: int, flip: int) -> None:
    body = bytearray(_MUTANT)
    body[place] ^= flip
    assert how(_MUTANTS.run(bytes(body)))[0] in ("unseal", "key")


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_like_any_others(body: bytes) -> None:
    assert how(_MUTANTS.run(body, b"\x01" + _MUTANTS.ring.newest.id + bytes.fromhex("647a00010002") + body)) in (
        ["unseal", "unseal"],
        ["key", "unseal"],
    )
