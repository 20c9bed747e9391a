"""Inputs that the service has had lately: who sends one again sends its digest alone."""

from __future__ import annotations

import hashlib
from collections import OrderedDict

from airserve.client.link.sizes import raw_bytes
from airserve.codecs.tensors import to_raw
from airserve.core.call import Tensors

LEAST_BYTES = 16 << 10
"""Smaller inputs leave in the first flight, and a digest would save nothing."""

DIGEST_BYTES = 100
"""About what a digest takes in the request."""

_KEPT = 256
# The service keeps inputs for ten minutes, unless it was told otherwise: then it says that it has them no more.
_FRESH_S = 540.0


class SentInputs:
    """What one service was given, newest last: the SHA-256 of raw bytes and a codec to the SHA-256 of what was sent."""

    def __init__(self) -> None:
        self._sent: OrderedDict[tuple[str, str], tuple[str, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sent)

    def find(self, raw: str, codec: str, now: float) -> str | None:
        """The digest that the service knows the input by; None where it does not."""
        known = self._sent.get((raw, codec))
        return known[0] if known is not None and now - known[1] < _FRESH_S else None

    def learn(self, raw: str, codec: str, sent: str, now: float) -> None:
        """The service has answered a call that brought these bytes, under the digest `sent`."""
        self._sent[raw, codec] = (sent, now)
        self._sent.move_to_end((raw, codec))
        if len(self._sent) > _KEPT:
            self._sent.popitem(last=False)

    def forget(self, raw: str) -> None:
        """The service has it no more, in any codec."""
        for key in [each for each in self._sent if each[0] == raw]:
            del self._sent[key]


class Digests:
    """The digests of one call's large inputs, made where they are needed; and what is given to keep with this call."""

    def __init__(self, inputs: Tensors, known: SentInputs, now: float) -> None:
        self._inputs, self._known, self._now = inputs, known, now
        self._raw: dict[str, str] = {}
        self._given: list[tuple[str, str, str]] = []

    def find(self, name: str, codec: str) -> str | None:
        """The digest that stands for the input in this codec; None where the service has it not."""
        if not self._known or raw_bytes(self._inputs[name]) < LEAST_BYTES:
            return None
        return self._known.find(self._raw_digest(name), codec, self._now)

    def give(self, name: str, codec: str, content: bytes | memoryview, *, coded: bool) -> str | None:
        """The digest to send beside the bytes `content`, so that they are kept; None where they are few."""
        if len(content) < LEAST_BYTES:
            return None
        raw = self._raw_digest(name)
        sent = hashlib.sha256(content).hexdigest() if coded else raw
        self._given.append((raw, codec, sent))
        return sent

    def arrived(self) -> None:
        """The service has answered: it has what was given."""
        for raw, codec, sent in self._given:
            self._known.learn(raw, codec, sent, self._now)

    def missed(self) -> None:
        """The service has not what was named: send the bytes."""
        self._given.clear()
        for raw in self._raw.values():
            self._known.forget(raw)

    def _raw_digest(self, name: str) -> str:
        if name not in self._raw:
            self._raw[name] = hashlib.sha256(to_raw(self._inputs[name])).hexdigest()
        return self._raw[name]
