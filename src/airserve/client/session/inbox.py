"""The answers that nobody has read yet."""

from __future__ import annotations

from collections import deque

from airserve.client.session.frame import FrameAnswer

ANSWERS_KEPT = 256
"""So many answers wait for their reader; then the oldest give way."""


class Inbox:
    """Answers in the order in which they came, then the error that ended the session, once, if one did."""

    def __init__(self) -> None:
        self.unread = 0
        self.over = False
        self._answers: deque[FrameAnswer] = deque()
        self._error: Exception | None = None

    def put(self, given: FrameAnswer | Exception | None) -> None:
        """An answer, an error, or the end."""
        if given is None:
            self.over = True
        elif isinstance(given, Exception):
            self._error, self.over = given, True
        else:
            if len(self._answers) == ANSWERS_KEPT:
                self._answers.popleft()
                self.unread += 1
            self._answers.append(given)

    def take(self) -> FrameAnswer | None:
        """The next answer; None where there is none now. Raises the error that ended the session."""
        if self._answers:
            return self._answers.popleft()
        self.raise_error()
        return None

    def raise_error(self) -> None:
        """Raise what ended the session, if anything did and nobody was told."""
        error, self._error = self._error, None
        if error is not None:
            raise error
