"""What an engine's thread hands the pieces of one generation to."""

from __future__ import annotations

import time

from airserve.core.errors import AirserveError, CancelledError, ModelFailedError
from airserve.core.generation import Piece, TokenCounts
from airserve.metering.event import Outcome
from airserve.serving.progress import Progress
from airserve.serving.stream import PieceStream, Stop, late


class Listener:
    """What the engine's thread hands its pieces to: passes them on, and remembers what must be charged.

    With `progress` no piece is passed on before it is on record.
    """

    def __init__(self, stream: PieceStream, deadline_ns: int, progress: Progress | None = None) -> None:
        self.tokens = TokenCounts()
        self.text_bytes = 0
        self.final: Piece | None = None
        self._stream = stream
        self._deadline_ns = deadline_ns
        self._progress = progress
        self._unrecorded: AirserveError | None = None

    def hear(self, piece: Piece) -> bool:
        """Take one piece; False tells the engine to stop."""
        self.tokens = piece.tokens
        self.text_bytes += _text_bytes(piece)
        if time.monotonic_ns() > self._deadline_ns:
            self._stream.stop(Stop.LATE)
        if piece.final:
            # Kept until the engine is done and what was used is on record.
            self.final = piece
            return True
        if not piece.choices:
            # It only counts: text that is held back, since a stop string may have begun.
            return self._stream.stopped is None
        return self._on_record(piece) and self._stream.put(piece)

    def _on_record(self, piece: Piece) -> bool:
        if self._progress is not None and self._unrecorded is None:
            try:
                self._progress.cover(piece, self.text_bytes)
            except AirserveError as error:
                self._unrecorded = error
        return self._unrecorded is None

    def outcome(self, failure: AirserveError | None) -> tuple[Outcome, AirserveError | None]:
        """How it ended, and what the reader is told; from here on the deadline is not looked at any more."""
        stopped = self._stream.settle()
        if stopped is None and self.final is not None and self._unrecorded is None:
            return Outcome.OK, None
        outcome, error = _why(stopped, self._unrecorded or failure)
        return (Outcome.PARTIAL if self.tokens.output else outcome), error


def _why(stopped: Stop | None, failure: AirserveError | None) -> tuple[Outcome, AirserveError]:
    if stopped is Stop.GONE:
        return Outcome.CANCELLED, CancelledError("the client has gone")
    if stopped is Stop.LATE:
        return Outcome.LATE, late()
    return Outcome.FAILED, failure or ModelFailedError("the model stopped before its answer was whole")


def _text_bytes(piece: Piece) -> int:
    texts = (choice.get("text") or (choice.get("delta") or {}).get("content") or "" for choice in piece.choices)
    return sum(len(text.encode()) for text in texts)
