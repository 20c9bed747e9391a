"""llama.cpp's chunks of one answer, as pieces with exact token counts.

Its own way differs from OpenAI's in four points that are evened out here: the role comes in a chunk of its own, before
its token is counted; the usage of an answer with several choices is that of one; log-probabilities of completions have
the form of chat; and errors come as a chunk.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from airserve.core.errors import AirserveError, ContextOverflowError, InvalidInputError, ModelFailedError
from airserve.core.generation import Piece, TokenCounts

_decode = msgspec.json.Decoder(dict[str, Any]).decode


class Chunks:
    """Turns chunks into pieces for `emit`, on the thread that generates."""

    def __init__(self, emit: Callable[[Piece], bool], *, chat: bool) -> None:
        self._emit = emit
        self._chat = chat
        self._roles: dict[int, dict[str, Any]] = {}
        self._finished: dict[int, dict[str, Any]] = {}
        self._index = 0
        self._prompt = self._cached = 0
        self._produced: dict[int, int] = {}
        self._offsets: dict[int, int] = {}
        self._stopped = False
        self._error: Exception | None = None

    @property
    def tokens(self) -> TokenCounts:
        """Everything so far, of all choices together."""
        return TokenCounts(self._prompt, self._cached, sum(self._produced.values()))

    def take(self, chunk: bytes) -> bool:
        """One chunk of JSON; True tells llama.cpp to stop."""
        try:
            self._stopped = not self._pass_on(_decode(chunk))
        except Exception as error:
            # An exception that went through llama.cpp would be lost.
            self._error, self._stopped = error, True
        return self._stopped

    def finish(self) -> None:
        """After the last chunk: the final piece, or the error that came instead."""
        if self._error is not None:
            raise self._error
        if self._finished and not self._stopped:
            self._emit(Piece([self._finished[index] for index in sorted(self._finished)], self.tokens, final=True))

    def _pass_on(self, document: dict[str, Any]) -> bool:
        if "error" in document:
            raise _as_error(document["error"])
        choices = document["choices"]
        if choices:
            self._index = choices[0]["index"]
        counted = "timings" in document
        if counted:
            self._count(document["timings"])
        pieces = []
        for choice in choices:
            choice = self._evened_out(choice)
            if choice["finish_reason"] is not None:
                self._finished[choice["index"]] = choice
            elif self._chat and not counted:
                self._roles[choice["index"]] = choice["delta"]
            elif self._says_something(choice):
                pieces.append(choice)
        if not counted and not pieces:
            return True
        return self._emit(Piece(pieces, self.tokens))

    def _count(self, timings: dict[str, Any]) -> None:
        # The choices of one request share their prompt; the last chunk of each, with its usage, names no choice.
        self._prompt = timings["cache_n"] + timings["prompt_n"]
        self._cached = timings["cache_n"]
        self._produced[self._index] = timings["predicted_n"]

    def _evened_out(self, choice: dict[str, Any]) -> dict[str, Any]:
        index = choice["index"]
        if self._chat:
            return {**choice, "delta": {**self._roles.pop(index, {}), **choice["delta"]}}
        if choice.get("logprobs"):
            offset = self._offsets.get(index, 0)
            self._offsets[index] = offset + len(choice["text"])
            return {**choice, "logprobs": _for_completions(choice["logprobs"]["content"], offset)}
        return choice

    def _says_something(self, choice: dict[str, Any]) -> bool:
        said = choice["delta"] if self._chat else choice["text"]
        return bool(said or choice.get("logprobs"))


def _for_completions(content: list[dict[str, Any]], offset: int) -> dict[str, Any]:
    """The form that the completions API gives log-probabilities; `offset` is where their text begins, in characters."""
    offsets = []
    for each in content:
        offsets.append(offset)
        offset += len(each["token"])
    return {
        "tokens": [each["token"] for each in content],
        "token_logprobs": [each["logprob"] for each in content],
        "top_logprobs": [{top["token"]: top["logprob"] for top in each["top_logprobs"]} for each in content],
        "text_offset": offsets,
    }


def _as_error(error: dict[str, Any]) -> AirserveError:
    if error.get("type") == "exceed_context_size_error":
        return ContextOverflowError(
            f"the prompt has {error['n_prompt_tokens']} tokens, and this model's context holds {error['n_ctx']} for "
            "prompt and answer together; shorten the prompt"
        )
    message = str(error.get("message") or "no reason given")[:300]
    if 400 <= error.get("code", 500) < 500:
        return InvalidInputError(f"the model cannot take this request: {message}")
    return ModelFailedError(f"the model failed: {message}")
