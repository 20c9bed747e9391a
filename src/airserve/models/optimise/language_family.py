"""Variants of a language model: tried by letting them speak, judged by perplexity, timed by the token.

Each in a process of its own, which a bad file may end. In the manifest `accuracy` of a variant is the perplexity of the
original over its own on the same tokens; a "row" of `Measured` is a token, and a batch so many generations at once.
"""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from airserve.core.call import Tensors
from airserve.core.errors import BY_CODE, BadPackageError, InvalidInputError, ModelFailedError
from airserve.engines.options import Language
from airserve.models.manifest import Manifest
from airserve.models.optimise.child_process import run_module
from airserve.models.optimise.family import Accuracy, Round
from airserve.models.optimise.language_process import Outcome, Speed, Task
from airserve.models.optimise.perplexity import CONTEXT, MOST_TOKENS, WINDOW, perplexity, ratio

METRIC = "perplexity ratio"
_SURPRISE = "surprise"
_TIMED_TOKENS = 48
_START_SECONDS = 600
_SECONDS_A_TOKEN = 10


def read_text(source: Path) -> str:
    """The text to measure on. Raises `InvalidInputError` for what is no UTF-8 text of some length."""
    if source.is_dir() or source.suffix != ".txt":
        raise InvalidInputError(f"{source.name}: a language model is measured on a text; give a .txt file")
    try:
        text = source.read_text()
    except FileNotFoundError:
        raise InvalidInputError(f"{source} does not exist") from None
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"{source.name} is no UTF-8 text: {error}") from None
    if len(text.split()) < CONTEXT:
        raise InvalidInputError(f"{source.name} has fewer than {CONTEXT} words; some thousand say something")
    return text


class LanguageFamily:
    """See `family.Family`. `most` tokens of `text` are scored; `threads` compute."""

    suffix = ".gguf"

    def __init__(self, manifest: Manifest, text: str, *, threads: int, most: int = MOST_TOKENS) -> None:
        if most < WINDOW - CONTEXT:
            raise InvalidInputError(f"at least {WINDOW - CONTEXT} tokens are scored, not {most}")
        self._language = manifest.language or Language()
        self._text = text
        self._threads = threads
        self._most = most

    def check(self, file: Path) -> None:
        """It loads and says something."""
        self._do("say", file)

    def judge(self, file: Path) -> Tensors:
        """−log p of each scored token, float64 [windows, tokens]."""
        surprises = self._do("score", file).surprises
        if surprises is None:
            raise ModelFailedError(f"the process that scored {file.name} gave no scores")
        return {_SURPRISE: np.array(surprises)}

    def accuracy(self, exact: Tensors, found: Tensors) -> Accuracy:
        """The ratio of perplexities; of the original itself it is 1."""
        before, after = exact[_SURPRISE], found[_SURPRISE]
        if before.shape != after.shape:
            raise ModelFailedError("the variant cuts the text into other tokens than the original")
        value, low, high = ratio(before, after)
        return Accuracy(METRIC, value, low, high, before.size, 1 - value, 1 - high, 1 - low)

    def perplexity(self, judged: Tensors) -> tuple[float, float, float]:
        """Of what `judge` gave, with the ends of its 95 % interval."""
        return perplexity(judged[_SURPRISE])

    def time(self, file: Path) -> Round:
        """One round: latencies from token to token, rates in tokens per second by generations at once."""
        speed = self.speed(file)
        return Round(
            threads=self._threads,
            latencies_ms=speed.token_ms,
            rows_per_s=speed.tokens_per_s,
            memory_bytes=speed.memory_bytes,
            energy_mj=speed.energy_mj,
        )

    def speed(self, file: Path) -> Speed:
        """The same, with how fast a prompt is read."""
        speed = self._do("time", file).speed
        if speed is None:
            raise ModelFailedError(f"the process that timed {file.name} gave no times")
        return speed

    def _do(self, what: Literal["say", "score", "time"], file: Path) -> Outcome:
        task = Task(
            what=what,
            file=str(file.resolve()),
            text=self._text,
            language=self._language,
            threads=self._threads,
            most=self._most,
            tokens=_TIMED_TOKENS,
        )
        outcome = _in_process(task, file.name)
        if outcome.failed is not None:
            code, message = outcome.failed
            raise BY_CODE.get(code, ModelFailedError)(message)
        return outcome


def _in_process(task: Task, name: str) -> Outcome:
    message, seconds = msgspec.msgpack.encode(task), _START_SECONDS + _SECONDS_A_TOKEN * task.most
    try:
        done = run_module("language_process", message, seconds=seconds, what="tries variants")
    except subprocess.TimeoutExpired:
        raise ModelFailedError(f"{name} takes more than {_SECONDS_A_TOKEN} s for a token") from None
    if done.returncode != 0:
        raise BadPackageError(f"{name} ended the process that tried it ({_end(done.returncode)})")
    try:
        return msgspec.msgpack.decode(done.stdout, type=Outcome)
    except msgspec.MsgspecError:
        raise ModelFailedError(f"the process that tried {name} answered nonsense") from None


def _end(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"code {code}"
