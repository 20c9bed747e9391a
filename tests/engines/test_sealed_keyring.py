from __future__ import annotations

import base64

import msgspec

from airserve.codecs.sealed_key import KeyConfig, SignedKey
from airserve.codecs.sealed_suite import SealedSuite
from airserve.engines.sealed_keyring import KeyRing

S = 1_000_000_000
START = 1_000_000 * S


def ring(rotate_s: int = 100, overlap_s: int = 20) -> KeyRing:
    def sign(config: KeyConfig) -> SignedKey:
        return SignedKey(msgspec.json.encode(config).decode(), "")

    return KeyRing(
        SealedSuite(kem="X25519"),
        model="m",
        version=3,
        package="ab",
        rotate_ns=rotate_s * S,
        overlap_ns=overlap_s * S,
        sign=sign,
    )


def test_a_key_is_given_out_for_its_period_and_opens_for_the_overlap_more() -> None:
    keys = ring()
    assert not keys.turn(START)
    first = keys.newest
    keys.turn(START + 99 * S)
    assert keys.newest is first
    keys.turn(START + 100 * S)
    assert keys.newest is not first
    keys.turn(START + 120 * S - 1)
    assert keys.find(first.id) is first
    keys.turn(START + 120 * S)
    assert keys.find(first.id) is None


def test_a_key_is_never_older_than_its_period_after_a_long_silence() -> None:
    keys = ring()
    keys.turn(START)
    first = keys.newest
    keys.turn(START + 10_000 * S)
    assert keys.newest.renew_ns == START + 10_100 * S
    assert keys.find(first.id) is None


def test_time_that_goes_back_makes_all_keys_new() -> None:
    keys = ring()
    keys.turn(START)
    first = keys.newest
    assert not keys.turn(START - S // 2)
    assert keys.newest is first
    assert keys.turn(START - 2 * S)
    assert keys.find(first.id) is None
    assert not keys.turn(START - 2 * S)


def test_the_config_says_what_the_key_is_for() -> None:
    keys = ring()
    keys.turn(START)
    config = msgspec.json.decode(keys.newest.signed.config, type=KeyConfig)
    assert (config.model, config.version, config.package, config.suite) == ("m", 3, "ab", keys.suite)
    assert (config.not_before, config.renew_at, config.not_after) == (1_000_000, 1_000_100, 1_000_120)
    assert config.key_id == keys.newest.id.hex()
    assert base64.b64decode(config.public_key) == keys.newest.private.public_key().public_bytes_raw()  # type: ignore[union-attr]
