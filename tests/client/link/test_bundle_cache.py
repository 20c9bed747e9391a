"""What is kept on the device's disk."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from airserve.client.link.bundle_cache import BundleCache
from airserve.client.link.offer import DeviceOffer, Offer
from airserve.core.errors import AirserveError

BODY = b"a model" * 1000
SHA = hashlib.sha256(BODY).hexdigest()


def test_a_bundle_is_found_once_it_is_whole(tmp_path: Path) -> None:
    cache = BundleCache(tmp_path)
    cache.part(SHA).write_bytes(BODY[:100])
    assert cache.find(SHA) is None
    assert cache.held_bytes(SHA) == 100
    with cache.part(SHA).open("ab") as file:
        file.write(BODY[100:])
    assert cache.complete(SHA).read_bytes() == BODY
    assert BundleCache(tmp_path).find(SHA) is not None


def test_another_file_than_promised_is_refused_and_forgotten(tmp_path: Path) -> None:
    cache = BundleCache(tmp_path)
    cache.part(SHA).write_bytes(BODY + b"!")
    with pytest.raises(AirserveError, match="promised"):
        cache.complete(SHA)
    assert cache.find(SHA) is None
    assert cache.held_bytes(SHA) == 0


def test_a_digest_that_is_a_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AirserveError, match="hexadecimal"):
        BundleCache(tmp_path).find("../" * 21 + "x")


def test_offers_survive_a_restart_and_damage_is_as_if_there_were_none(tmp_path: Path) -> None:
    offer = Offer("digits", device=DeviceOffer("int8", 7000, SHA, 0.98, "accuracy"))
    BundleCache(tmp_path).keep_offer("https://a", offer, None)
    again = BundleCache(tmp_path)
    assert again.kept_offer("https://a", "digits", None) == offer
    assert again.kept_offer("https://b", "digits", None) is None
    for file in (tmp_path / "offers").iterdir():
        file.write_bytes(b"{")
    assert again.kept_offer("https://a", "digits", None) is None
