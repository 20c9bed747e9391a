"""No byte of a stream leaves before it is on record: its tokens are recorded some ahead of it.

So a process that is killed amid a stream is paid for what it had sent, and a record is written every `STEP` tokens and
not for each. It covers at most `STEP` tokens that have not left, and none that the call could never have.
"""

from __future__ import annotations

from airserve.core.generation import Piece, TokenCounts
from airserve.metering.event import Outcome
from airserve.metering.journal import Journal
from airserve.serving.generation_ticket import Ended, GenerationTicket

STEP = 16


class Progress:
    """Of one stream. `most` is the most tokens that its answer may have, None where nobody has said."""

    def __init__(self, journal: Journal, ticket: GenerationTicket, version: int, most: int | None) -> None:
        self._journal = journal
        self._ticket = ticket
        self._version = version
        self._most = most
        self._covered: int | None = None

    def cover(self, piece: Piece, text_bytes: int) -> None:
        """See that the journal covers `piece`, which leaves next. Raises `OverloadedError` where it cannot."""
        tokens = piece.tokens
        if self._covered is not None and tokens.output <= self._covered:
            return
        ahead = tokens.output + STEP
        if self._most is not None:
            ahead = max(tokens.output, min(ahead, self._most))
        covered = TokenCounts(tokens.input, tokens.cached, ahead)
        self._journal.append([Ended(self._ticket, Outcome.PROGRESS, None, covered, text_bytes).event(self._version)])
        self._covered = ahead
