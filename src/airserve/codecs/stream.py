"""A stream of tensors as frames, each the difference to one that the other side is known to have. No I/O.

The differences are between symbols, not numbers, so they lose nothing: an error never adds up, and a frame that is lost
harms none but itself. The encoder refers to the newest frame that was acknowledged; without one it sends a key frame.
"""

from __future__ import annotations

from airserve.codecs.codec import Codec, parse
from airserve.codecs.frame import Coded, Decoded, Reference, decode_frame, encode_frame, read_head
from airserve.codecs.frame_head import MAX_KEY
from airserve.core.call import Array
from airserve.core.errors import InvalidInputError

HEADROOM = 0.125
"""How much wider a key frame's range is on each side: what follows goes beyond it by a little."""
WINDOW = 16
"""The frames that each side keeps for reference, at most."""


class StreamEncoder:
    """The sending side of one stream: `encode` each tensor, and say which keys were `acknowledged`."""

    def __init__(self, codec: Codec | str, *, first_key: int = 1, headroom: float = HEADROOM, window: int = WINDOW):
        self.codec = parse(codec) if isinstance(codec, str) else codec
        if window < 1 or not 0 <= first_key <= MAX_KEY:
            raise InvalidInputError(f"a stream keeps at least 1 frame, and its keys are from 0 to {MAX_KEY}")
        self._headroom = headroom
        self._window = window
        self._key = first_key
        self._sent: dict[int, Reference] = {}
        self._reference: Reference | None = None
        self._key_frame_bytes = 0

    def encode(self, array: Array) -> Coded:
        """The next frame: a difference where a reference serves and it is smaller than a key frame."""
        coded = self._encode(array, self._reference)
        if coded.head.reference_key is not None and len(coded.frame) > self._key_frame_bytes:
            # The scene has changed, perhaps; then a new key frame is smaller.
            whole = self._encode(array, None)
            coded = whole if len(whole.frame) < len(coded.frame) else coded
        if coded.head.reference_key is None:
            self._key_frame_bytes = len(coded.frame)
        if coded.reference is not None:
            self._sent[self._key] = coded.reference
        while len(self._sent) > self._window:
            del self._sent[next(iter(self._sent))]
        self._key = (self._key + 1) & MAX_KEY
        return coded

    def acknowledged(self, key: int) -> None:
        """The other side has decoded frame `key`. A key that is not known, or older than the last, says nothing."""
        reference = self._sent.get(key)
        if reference is None:
            return
        self._reference = reference
        for sent in list(self._sent):
            del self._sent[sent]
            if sent == key:
                break

    def ask_key(self) -> None:
        """The next frame is a key frame: the other side misses a reference, or is another one."""
        self._reference = None
        self._sent.clear()

    def _encode(self, array: Array, reference: Reference | None) -> Coded:
        return encode_frame(array, self.codec, reference=reference, key=self._key, headroom=self._headroom)


class StreamDecoder:
    """The receiving side of one stream. It keeps the last `window` frames, each of at most `max_bytes`."""

    def __init__(self, *, max_bytes: int, window: int = WINDOW):
        self._max_bytes = max_bytes
        self._window = window
        self._held: dict[int, Reference] = {}

    def decode(self, frame: bytes | memoryview) -> Decoded:
        """The tensor of `frame`; acknowledge `head.key` afterwards.

        Raises what `frame.decode` raises: after `MissingReferenceError` ask the sender for a key frame.
        """
        key = read_head(frame).reference_key
        decoded = decode_frame(frame, max_bytes=self._max_bytes, reference=None if key is None else self._held.get(key))
        if key is not None:
            # Who refers to a frame has given up all that came before it.
            for held in list(self._held):
                if held == key:
                    break
                del self._held[held]
        if decoded.reference is not None:
            self._held.pop(decoded.reference.key, None)
            self._held[decoded.reference.key] = decoded.reference
        while len(self._held) > self._window:
            del self._held[next(iter(self._held))]
        return decoded
