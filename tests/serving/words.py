"""An engine that generates the words of its prompt, one a token, as fast or as slowly as a test wants."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from airserve.core.errors import AirserveError
from airserve.core.generation import Generation, Piece, TokenCounts


class WordEngine:
    """Its prompt is processed at once. With `hold`, it says one word each time that `say` is called.

    It takes `pause_s` for each word.
    """

    embeds = False

    def __init__(self, slots: int = 1, *, hold: bool = False, pause_s: float = 0.0) -> None:
        self.slots = slots
        self.started: list[str] = []
        self.said = 0
        self.closed = False
        self._hold = hold
        self._pause_s = pause_s
        self._words = threading.Semaphore(0)
        self._lock = threading.Lock()

    def say(self, words: int = 1) -> None:
        """Let it say so many words more, whichever slot is next."""
        for _ in range(words):
            self._words.release()

    def generate(self, generation: Generation, emit: Callable[[Piece], bool]) -> None:
        prompt = str(generation.parameters["prompt"])
        self.started.append(prompt)
        words = prompt.split()
        prompt_tokens, cached = len(words), len(words) // 2
        for number, word in enumerate(words, start=1):
            if self._hold:
                self._words.acquire()
            if self._pause_s:
                time.sleep(self._pause_s)
            if isinstance(failure := generation.parameters.get("fails_at"), int) and number == failure:
                raise generation.parameters["failure"]
            with self._lock:
                self.said += 1
            tokens = TokenCounts(prompt_tokens, cached, number)
            if not emit(Piece([{"index": 0, "text": f"{word} ", "finish_reason": None}], tokens)):
                return
        emit(
            Piece(
                [{"index": 0, "text": "", "finish_reason": "stop"}],
                TokenCounts(prompt_tokens, cached, len(words)),
                True,
            )
        )

    def close(self) -> None:
        self.closed = True


def prompt(text: str, *, fails_at: int | None = None, failure: AirserveError | Exception | None = None) -> Generation:
    return Generation(False, {"prompt": text, "fails_at": fails_at, "failure": failure})
