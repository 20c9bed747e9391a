"""The text of an API key: recognisable, checked for typing errors before anything else, never stored.

    as_<env>_<id: 12 base62><secret: 43 base62 ≈ 256 bit><crc: 6 base62>        env = live | usr | adm

The CRC-32 tail lets a scanner tell a leaked key from noise, and lets us refuse a mistyped one without a look-up.
Stored is HMAC-SHA256 under a pepper that is not in the database: 256 random bits need no slow hash, and a copy of
the database alone can neither check a guess nor forge a row.
"""

from __future__ import annotations

import hmac
import re
import string
from collections.abc import Callable
from enum import Enum
from zlib import crc32

ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
ID_LENGTH = 12
_SECRET_LENGTH = 43
_CRC_LENGTH = 6
_BODY_LENGTH = ID_LENGTH + _SECRET_LENGTH
_PREFIX_OF = {"tenant": "as_live_", "member": "as_usr_", "operator": "as_adm_"}
_IN_TEXT = re.compile(
    rf"(?<![0-9A-Za-z_])as_(?:live|usr|adm)_[0-9A-Za-z]{{{_BODY_LENGTH + _CRC_LENGTH}}}(?![0-9A-Za-z])"
)


class KeyKind(Enum):
    """Whom a key is for. A service's key (TENANT) opens inference routes and nothing else; the others never do."""

    TENANT = "tenant"
    MEMBER = "member"
    OPERATOR = "operator"


def new_key(kind: KeyKind, random_bytes: Callable[[int], bytes]) -> str:
    """A new key; `random_bytes(n)` gives n secret random bytes."""
    text = _PREFIX_OF[kind.value] + _base62(int.from_bytes(random_bytes(48), "big"), _BODY_LENGTH)
    return text + _tail(text)


def key_id(key: str) -> str:
    """The public part of a well-formed key, by which lists and logs name it."""
    return key[len(key) - _CRC_LENGTH - _BODY_LENGTH : len(key) - _CRC_LENGTH - _SECRET_LENGTH]


def is_well_formed(key: str) -> bool:
    """Whether prefix, length and CRC are right; says nothing about whether the key exists."""
    prefix = key[: key.find("_", 3) + 1]
    if prefix not in _PREFIX_OF.values() or len(key) != len(prefix) + _BODY_LENGTH + _CRC_LENGTH or not key.isascii():
        return False
    return _tail(key[:-_CRC_LENGTH]) == key[-_CRC_LENGTH:]


def kind_of(key: str) -> KeyKind:
    """The kind of a well-formed key, by its prefix."""
    return next(KeyKind(kind) for kind, prefix in _PREFIX_OF.items() if key.startswith(prefix))


def keys_in(text: str) -> list[str]:
    """Every well-formed key in a text, once each, in order: a log, a repository, a page somebody pasted."""
    return [key for key in dict.fromkeys(_IN_TEXT.findall(text)) if is_well_formed(key)]


def key_mac(key: str, pepper: bytes) -> bytes:
    """What the database keeps of a key: 32 bytes."""
    return hmac.digest(pepper, key.encode(), "sha256")


def _tail(text: str) -> str:
    return _base62(crc32(text.encode()), _CRC_LENGTH)


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits.append(ALPHABET[digit])
    return "".join(reversed(digits))
