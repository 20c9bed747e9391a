"""The process that tries one variant of a language model, fresh: `python -m airserve.models.optimise.language_process`.

Its argument is its parent's id. A `Task` comes on standard input and an `Outcome` goes to standard output, both as
MessagePack. llama.cpp ends its process where a file is bad enough; here that is this process.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from airserve.core.errors import AirserveError, ModelFailedError
from airserve.core.generation import Generation, Piece
from airserve.engines.llama import LlamaGenerator
from airserve.engines.options import Language
from airserve.engines.process_guard import end_with
from airserve.models.optimise.energy import EnergyMeter
from airserve.models.optimise.perplexity import surprise

_TRIED_TOKENS = 4
_PROMPT_CHARACTERS = 400


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """What to do with the GGUF model in `file`: let it say something, score `text`, or time it.

    `most` tokens of the text are scored; each timed generation has `tokens` tokens.
    """

    what: Literal["say", "score", "time"]
    file: str
    text: str
    language: Language
    threads: int
    most: int
    tokens: int


class Speed(msgspec.Struct, frozen=True, kw_only=True):
    """`token_ms` from token to token of one generation alone; `tokens_per_s` by how many generations run at once.

    `memory_bytes` is what the process grew by, with the mapped file; `energy_mj` is millijoules a token of the
    generation that was alone.
    """

    token_ms: list[float]
    tokens_per_s: dict[int, float]
    prompt_tokens_per_s: float
    memory_bytes: int
    energy_mj: float | None


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """`surprises` of a text that was scored, `speed` of a model that was timed, or why it `failed` (code, sentence)."""

    surprises: list[list[float]] | None = None
    speed: Speed | None = None
    failed: tuple[str, str] | None = None


def main(task: Task) -> Outcome:
    """Do it."""
    file = Path(task.file)
    if task.what == "score":
        found = surprise(file, task.text, threads=task.threads, most=task.most)
        return Outcome(surprises=found.tolist())
    before = _resident()
    with closing(LlamaGenerator(file, task.language, threads=task.threads)) as generator:
        if task.what == "time":
            return Outcome(speed=_speed(generator, task, before))
        if not _generate(generator, _prompts(task, 1)[0], _TRIED_TOKENS).times:
            raise ModelFailedError("it generates nothing")
    return Outcome()


class _Heard:
    """When each token of one generation came, in seconds, and how many tokens its prompt had."""

    def __init__(self) -> None:
        self.start = time.perf_counter()
        self.times: list[float] = []
        self.prompt = 0

    def take(self, piece: Piece) -> bool:
        new, now = piece.tokens.output - len(self.times), time.perf_counter()
        before = self.times[-1] if self.times else self.start
        # Of tokens that came in one piece nobody knows when each was ready: evenly since the last.
        self.times += [before + (now - before) * (at + 1) / new for at in range(new)]
        self.prompt = piece.tokens.input - piece.tokens.cached
        return True


def _generate(generator: LlamaGenerator, prompt: str, tokens: int) -> _Heard:
    heard = _Heard()
    parameters: dict[str, Any] = {"prompt": prompt, "max_tokens": tokens, "temperature": 0, "ignore_eos": True}
    generator.generate(Generation(chat=False, parameters=parameters), heard.take)
    return heard


def _speed(generator: LlamaGenerator, task: Task, before: int) -> Speed:
    prompts = _prompts(task, generator.slots + 2)
    _generate(generator, prompts[0], _TRIED_TOKENS)
    meter = EnergyMeter()
    alone = _generate(generator, prompts[1], task.tokens)
    used = meter.millijoules()
    if len(alone.times) < 2:
        raise ModelFailedError(f"it ended after {len(alone.times)} tokens; there is nothing to time")
    rates = {1: _rate([alone])}
    if generator.slots > 1:
        with ThreadPoolExecutor(generator.slots) as threads:
            together = threads.map(lambda prompt: _generate(generator, prompt, task.tokens), prompts[2:])
            rates[generator.slots] = _rate(list(together))
    return Speed(
        token_ms=(1000 * np.diff(alone.times)).tolist(),
        tokens_per_s=rates,
        prompt_tokens_per_s=alone.prompt / (alone.times[0] - alone.start),
        memory_bytes=max(_resident() - before, 0),
        energy_mj=None if used is None else used / len(alone.times),
    )


def _prompts(task: Task, count: int) -> list[str]:
    """Different beginnings, so that nothing that one has computed helps another; each leaves room for its answer."""
    # A character may be four tokens: its bytes.
    length = max(1, min(_PROMPT_CHARACTERS, (task.language.context - task.tokens) // 4 - 1))
    step = max(1, len(task.text) // count)
    return [(task.text[at * step :] + task.text)[:length] for at in range(count)]


def _rate(heard: Sequence[_Heard]) -> float:
    """Tokens per second of generations side by side, from when the first one began to answer."""
    times = [time for each in heard for time in each.times]
    return (len(times) - 1) / (max(times) - min(times))


def _resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


if __name__ == "__main__":
    end_with(int(sys.argv[1]))
    try:
        outcome = main(msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Task))
    except AirserveError as error:
        outcome = Outcome(failed=(error.code, error.message))
    except MemoryError:
        outcome = Outcome(failed=(ModelFailedError.code, "there is not enough memory for it"))
    os.write(1, msgspec.msgpack.encode(outcome))
    os._exit(0)
