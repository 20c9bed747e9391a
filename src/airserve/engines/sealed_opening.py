"""Open one sealed call: key, seal, commitment, time, replay, in this order. Time comes in as an argument."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass

from airserve.codecs import sealed_message as wire
from airserve.codecs.sealed_suite import ReplyKind, SealedSuite
from airserve.core.call import Tensors
from airserve.core.errors import SealedClockError, SealedKeyError, UnsealError
from airserve.engines.sealed_keyring import KeyRing
from airserve.engines.sealed_replay import ReplayCache

SKEW_NS = 60_000_000_000
"""How far the time inside a seal may be from ours."""


@dataclass(frozen=True, slots=True)
class ReplySeal:
    """What it takes to seal an answer to a call, so that its client alone can read it."""

    suite: SealedSuite
    header: wire.Header
    enc: bytes
    secret: bytes

    def outputs(self, tensors: Tensors) -> bytes:
        """Sealed outputs."""
        return self._seal("reply", wire.fill(wire.write_content(tensors)))

    def reason(self, sentence: str) -> bytes:
        """The sealed sentence of a refusal: it may quote the input. All have the same size."""
        return self._seal("reason", sentence.encode()[: wire.SMALLEST].ljust(wire.SMALLEST))

    def _seal(self, kind: ReplyKind, plaintext: bytes) -> bytes:
        return self.suite.seal_reply(self.secret, self.enc, self.header, kind, plaintext)


@dataclass(frozen=True, slots=True)
class Opened:
    """A call that was opened: its content, not decoded yet, and the seal of its answer."""

    content: bytes | memoryview
    reply: ReplySeal

    def tensors(self) -> tuple[Tensors, Sequence[str] | None]:
        """Inputs, and the outputs that are asked for. Raises `InvalidInputError`."""
        return wire.read_content(self.content)


class Opener:
    """Opens the calls to one version of a model."""

    def __init__(self, model: str, version: int, ring: KeyRing, replays: ReplayCache) -> None:
        self._model, self._version = model, str(version)
        self._ring, self._replays = ring, replays

    def open(self, message: bytes, call_id: str, now_ns: int) -> Opened:
        """The call in `message`, once.

        Raises `SealedKeyError`, `UnsealError`, `SealedClockError`, `SealedReplayError`, or `OverloadedError` where too
        many were opened lately.
        """
        if self._ring.turn(now_ns):
            self._replays.clear()
        header, sealed = wire.split(message)
        key = self._ring.find(header.key_id)
        if key is None or (header.kem, header.kdf, header.aead) != self._ring.suite.ids:
            raise SealedKeyError(
                f"the model has no key {header.key_id.hex()} for sealed calls of this suite (any more); "
                "fetch its key again"
            )
        suite = self._ring.suite
        info = wire.binding(header, self._model, self._version, call_id)
        inner = wire.unpack(suite.open(sealed, key.private, info))
        if not hmac.compare_digest(wire.commitment(inner.salt, inner.content), header.commitment):
            raise UnsealError(wire.FLAT)
        if abs(now_ns - inner.sent_ns) > SKEW_NS:
            raise SealedClockError("the sealed call's time is more than 60 s from that of the service; set your clock")
        enc = suite.enc(sealed)
        self._replays.take(enc, inner.sent_ns + SKEW_NS, now_ns)
        return Opened(inner.content, ReplySeal(suite, header, enc, inner.secret))
