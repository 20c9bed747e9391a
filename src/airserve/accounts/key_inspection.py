"""Whether a text that turned up somewhere is one of our keys, and whose."""

from __future__ import annotations

import hmac
from dataclasses import dataclass

import sqlalchemy as sa

from airserve.accounts.key_format import key_id, key_mac, kind_of
from airserve.accounts.keys import KeyInfo, find_key
from airserve.storage import Database, tables


@dataclass(frozen=True, slots=True)
class FoundKey:
    """A well-formed key by its public parts. `info` is None where it is no key of this installation."""

    id: str
    kind: str
    info: KeyInfo | None
    state: str
    """active, not yet valid, expired, replaced, revoked, or unknown: of another installation, or made up."""


def inspect_key(database: Database, pepper: bytes, key: str, *, now_ns: int) -> FoundKey:
    """What a well-formed key is. Known is one whose whole text is ours, not one that shares its id."""
    with database.read() as connection:
        mac = connection.scalar(sa.select(tables.api_keys.c.mac).where(tables.api_keys.c.id == key_id(key)))
        if mac is None or not hmac.compare_digest(bytes(mac), key_mac(key, pepper)):
            return FoundKey(key_id(key), kind_of(key).value, None, "unknown")
        info = find_key(connection, key_id(key))
    return FoundKey(info.id, info.kind, info, key_state(info, now_ns))


def key_state(key: KeyInfo, now_ns: int) -> str:
    """In a word, whether a key is good now."""
    if key.revoked_ns is not None:
        return "revoked"
    if key.expires_ns is not None and key.expires_ns <= now_ns:
        return "replaced" if key.replaced_by else "expired"
    if key.not_before_ns is not None and now_ns < key.not_before_ns:
        return "not yet valid"
    return "active"
