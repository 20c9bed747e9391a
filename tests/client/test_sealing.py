from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from airserve.client.exchange import HttpResponse
from airserve.client.sealing import SealedInfer, SealedKeys
from airserve.codecs.sealed_key import FORMAT, KeyConfig, KeyDocument, public_text, sign
from airserve.codecs.sealed_suite import SealedSuite, key_id_of
from airserve.core.errors import AirserveError, SealedKeyError, UnsealError

NOW = 1_800_000_000.0
IDENTITY = Ed25519PrivateKey.generate()
PUBLIC = SealedSuite(kem="X25519").generate()[1]
CONFIG = KeyConfig(
    format=FORMAT,
    key_id=key_id_of(0x20, PUBLIC).hex(),
    kem=0x20,
    kdf=1,
    aead=2,
    public_key=base64.b64encode(PUBLIC).decode(),
    model="m",
    version=3,
    package="ab",
    not_before=NOW - 10,
    renew_at=NOW + 10,
    not_after=NOW + 20,
)


def told(**changes: Any) -> HttpResponse:
    signed = sign(msgspec.structs.replace(CONFIG, **changes), IDENTITY)
    return HttpResponse(200, {}, msgspec.json.encode(KeyDocument(public_text(IDENTITY), signed)))


def test_a_key_is_known_until_it_is_due() -> None:
    keys = SealedKeys(public_text(IDENTITY))
    assert keys.known("m@canary", None, NOW) is None
    assert keys.learn("m@canary", None, told(), NOW) == CONFIG
    assert keys.known("m@canary", None, NOW + 9) == CONFIG
    assert keys.known("m@canary", None, NOW + 10) is None
    assert keys.known("m", "3", NOW) is None
    assert keys.learn("m", "3", told(), NOW) == CONFIG


@pytest.mark.parametrize(
    ("asked", "changes"),
    [
        (("n", None), {}),
        (("m", "2"), {}),
        (("m", None), {"not_after": NOW - 1}),
        (("m", None), {"not_before": NOW + 61}),
    ],
)
def test_a_good_signature_under_the_wrong_key_is_not_enough(asked: tuple[str, str], changes: dict[str, Any]) -> None:
    keys = SealedKeys(public_text(IDENTITY))
    with pytest.raises(SealedKeyError):
        keys.learn(*asked, told(**changes), NOW)
    assert keys.known(*asked, NOW) is None


def test_the_identity_that_was_trusted_first_stays_the_one() -> None:
    keys = SealedKeys(None)
    with pytest.warns(UserWarning, match="is believed"):
        keys.learn("m", None, told(), NOW)
    other = Ed25519PrivateKey.generate()
    document = KeyDocument(public_text(other), sign(CONFIG, other))
    with pytest.raises(SealedKeyError, match="not signed"):
        keys.learn("m", None, HttpResponse(200, {}, msgspec.json.encode(document)), NOW)


def test_a_key_that_is_unknown_to_the_worker_is_fetched_again_once() -> None:
    keys = SealedKeys(public_text(IDENTITY))
    steps = SealedInfer("m", {"x": [1.0]}, None, None, "c").steps(keys)
    refused = HttpResponse(400, {}, b'{"error": "unknown", "code": "sealed_key"}')
    now = {"not_before": 0.0, "renew_at": 1e11, "not_after": 1e11}
    assert next(steps).path == "/sealed/m"
    first = steps.send(told(**now))
    assert steps.send(refused).path == "/sealed/m"
    second = steps.send(told(**now))
    assert (first.path, second.path) == ("/v2/models/m/infer",) * 2
    assert first.headers["airserve-call-id"] == second.headers["airserve-call-id"] == "c"
    assert first.body != second.body
    assert first.body[15:47] == second.body[15:47], "the commitment"
    with pytest.raises(SealedKeyError):
        steps.send(refused)


@pytest.mark.parametrize(
    ("status", "body"),
    [(200, b"{}"), (200, b""), (400, b'{"error": "no; sealed reason: AAAA", "code": "invalid_input"}'),
     (400, b'{"error": "no; sealed reason: %", "code": "invalid_input"}')],
)  # fmt: skip
def test_an_answer_that_is_not_sealed_to_this_call_is_not_believed(status: int, body: bytes) -> None:
    attempt = SealedInfer("m", {"x": [1.0]}, None, None, "c").seal(CONFIG, 0)
    with pytest.raises(UnsealError):
        attempt.open(HttpResponse(status, {}, body))
    with pytest.raises(AirserveError, match=r"^busy$"):
        attempt.open(HttpResponse(503, {}, b'{"error": "busy", "code": "overloaded"}'))
