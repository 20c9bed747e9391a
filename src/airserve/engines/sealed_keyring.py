"""The key pairs of a sealed model: one that is given out, and those before it for as long as calls to them may come.

Sans-IO: time comes in as an argument, in nanoseconds of UTC.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass

from airserve.codecs.sealed_key import FORMAT, KeyConfig, SignedKey
from airserve.codecs.sealed_suite import PrivateKey, SealedSuite, key_id_of

JUMP_NS = 1_000_000_000
"""A clock that goes back by more than this has jumped."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """One key pair; the private half is in no other place than here."""

    id: bytes
    private: PrivateKey
    signed: SignedKey
    renew_ns: int
    expires_ns: int


class KeyRing:
    """The keys of one version of a model."""

    def __init__(
        self,
        suite: SealedSuite,
        *,
        model: str,
        version: int,
        package: str,
        rotate_ns: int,
        overlap_ns: int,
        sign: Callable[[KeyConfig], SignedKey],
    ) -> None:
        self.suite = suite
        self._names = {"model": model, "version": version, "package": package}
        self._rotate_ns, self._overlap_ns, self._sign = rotate_ns, overlap_ns, sign
        self._keys: dict[bytes, KeyPair] = {}
        self._latest_ns = 0

    def turn(self, now_ns: int) -> bool:
        """Part with keys that have expired, and make a new one where the newest is due. Returns whether time went back.

        In that case all keys are new: what was forgotten of calls to the old ones would be open to a replay again.
        """
        jumped = now_ns < self._latest_ns - JUMP_NS
        self._latest_ns = now_ns if jumped else max(now_ns, self._latest_ns)
        if jumped:
            self._keys.clear()
        self._keys = {id_: key for id_, key in self._keys.items() if now_ns < key.expires_ns}
        if not self._keys or now_ns >= self.newest.renew_ns:
            key = self._generate(now_ns)
            self._keys[key.id] = key
        return jumped

    @property
    def newest(self) -> KeyPair:
        """The key to give out; `turn` comes before."""
        return next(reversed(self._keys.values()))

    def find(self, key_id: bytes) -> KeyPair | None:
        """The key of that id, if calls to it are still opened."""
        return self._keys.get(key_id)

    def _generate(self, now_ns: int) -> KeyPair:
        private, public = self.suite.generate()
        kem, kdf, aead = self.suite.ids
        renew_ns = now_ns + self._rotate_ns
        id_ = key_id_of(kem, public)
        config = KeyConfig(
            format=FORMAT,
            key_id=id_.hex(),
            kem=kem,
            kdf=kdf,
            aead=aead,
            public_key=base64.b64encode(public).decode(),
            not_before=now_ns / 1e9,
            renew_at=renew_ns / 1e9,
            not_after=(renew_ns + self._overlap_ns) / 1e9,
            **self._names,  # type: ignore[arg-type]  # three fields of two types
        )
        return KeyPair(id_, private, self._sign(config), renew_ns, renew_ns + self._overlap_ns)
