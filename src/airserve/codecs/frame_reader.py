"""A frame that comes in pieces. It is judged by its head, as soon as that is there."""

from __future__ import annotations

from airserve.codecs.frame import Decoded, Reference, decode_frame
from airserve.codecs.frame_head import MOST_HEAD_BYTES, Head, read_head
from airserve.codecs.varints import TooFewBytesError
from airserve.core.errors import BadFrameError


class FrameReader:
    """Takes the pieces of one frame, whose tensor takes at most `max_bytes`. It holds no more than the head says."""

    def __init__(self, *, max_bytes: int):
        self._max_bytes = max_bytes
        self._data = bytearray()
        self.head: Head | None = None

    @property
    def complete(self) -> bool:
        """Whether all bytes of the frame are there."""
        return self.head is not None and len(self._data) == self.head.frame_bytes

    def feed(self, piece: bytes | memoryview) -> None:
        """The next bytes. Raises `BadFrameError` and `TooLargeError` as early as the bytes so far allow."""
        start = 0
        if self.head is None:
            start = min(len(piece), MOST_HEAD_BYTES)
            self._data += piece[:start]
            self.head = self._read_head()
        if self.head is not None:
            if len(self._data) + len(piece) - start > self.head.frame_bytes:
                raise BadFrameError("the frame is followed by other data")
            self._data += piece[start:]

    def decode(self, reference: Reference | None = None) -> Decoded:
        """The tensor of the complete frame. Raises what `frame.decode` raises."""
        return decode_frame(bytes(self._data), max_bytes=self._max_bytes, reference=reference)

    def _read_head(self) -> Head | None:
        try:
            head = read_head(bytes(self._data))
        except TooFewBytesError:
            if len(self._data) >= MOST_HEAD_BYTES:
                raise
            return None
        head.check(self._max_bytes)
        return head
