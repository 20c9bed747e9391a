"""Perplexity: how surprised a language model is by a text, token by token; exp of the mean of −log p(token | before).

Teacher forcing through llama.cpp's server: a grammar of token ids (GBNF, `<[id]>`) lets the model say the text's own
tokens alone, and of each the server reports the log-probability that it had before any sampling: the log-softmax of
the logits over the whole vocabulary. So it is exact for every token, also for one far from the most probable; nothing
is cut off at a list of the best. What is left is the rounding of float32 (the probabilities of all 262,144 tokens of
one model summed to 1.0002), and the engine's own arithmetic, which is the one that answers callers.

Source: Jelinek et al., "Perplexity — a measure of the difficulty of speech recognition tasks", 1977; llama.cpp,
grammars/README.md, "Tokens"; tools/server, `n_probs`.
"""

from __future__ import annotations

import http.client
import json
import math
import os
import secrets
import socket
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from airserve.core.call import Array
from airserve.core.errors import BadPackageError, InvalidInputError, ModelFailedError
from airserve.models.optimise.intervals import bootstrap

WINDOW = 256
"""Tokens of a piece of text that is looked at by itself; the first `CONTEXT` of them are given, the others scored."""
CONTEXT = 32
MOST_TOKENS = 896
"""So many tokens of a text are scored, in windows spread evenly over it."""
_BLOCK = 32
"""Neighbouring tokens are not independent: they are resampled in blocks of so many."""
_SILENT = -1
_SPINS = "2000"
"""As in the engine: threads that wait for each other burn no core that somebody else could use."""


def surprise(file: Path, text: str, *, threads: int, most: int = MOST_TOKENS) -> Array:
    """−log p of the tokens of `text`, in nats: float64 [windows, tokens], by the GGUF model in `file`.

    A text that is shorter than a window is one window. Raises `InvalidInputError` where it has no more tokens than the
    context of one, `BadPackageError` for a file that llama.cpp cannot load, and `ModelFailedError` where it fails.
    """
    with _served(file, threads) as server:
        windows = _windows(server.tokens(text, special=False), most)
        begin = server.beginning(text)
        return np.array([server.forced([*begin, *window[:CONTEXT]], window[CONTEXT:]) for window in windows])


def perplexity(surprises: Array) -> tuple[float, float, float]:
    """exp of the mean of `surprises` (nats, of any shape), and the ends of its 95 % confidence interval."""
    return _exponential(surprises)


def ratio(exact: Array, found: Array) -> tuple[float, float, float]:
    """Perplexity of the original over that of a variant, by pairs of the same tokens, with its 95 % interval.

    1.0 is as good as the original; 0.98 is a variant that is 2 % more perplexed.
    """
    return _exponential(exact - found)


def _exponential(values: Array) -> tuple[float, float, float]:
    flat = np.asarray(values, np.float64).reshape(-1)
    blocks = [part.sum() for part in np.array_split(flat, max(1, len(flat) // _BLOCK))]
    sizes = [len(part) for part in np.array_split(flat, max(1, len(flat) // _BLOCK))]
    sums, counts = np.array(blocks), np.array(sizes, np.float64)
    low, high = bootstrap(len(sums), lambda weights: np.exp((weights @ sums) / (weights @ counts)))
    return math.exp(float(flat.mean())), low, high


def _windows(tokens: Sequence[int], most: int) -> list[list[int]]:
    count = len(tokens) // WINDOW
    if not count:
        if len(tokens) <= CONTEXT + 1:
            raise InvalidInputError(
                f"the text has {len(tokens)} tokens; perplexity needs {CONTEXT + 2}, and says little below {WINDOW}"
            )
        return [list(tokens)]
    taken = min(count, max(1, most // (WINDOW - CONTEXT)))
    starts = [at * count // taken * WINDOW for at in range(taken)]
    return [list(tokens[start : start + WINDOW]) for start in starts]


class _Served:
    """A model in llama.cpp's server, of which one socket in a folder of ours is asked how it cuts a text in tokens."""

    def __init__(self, server: Any, socket_path: str, key: str) -> None:
        self._server = server
        self._socket_path = socket_path
        self._key = key

    def tokens(self, text: str, *, special: bool) -> list[int]:
        """The ids of the text's tokens; with those that the model wants at the ends where `special`."""
        connection = _LocalConnection(self._socket_path)
        body = json.dumps({"content": text, "add_special": special})
        headers = {"authorization": f"Bearer {self._key}", "content-type": "application/json"}
        try:
            connection.request("POST", "/tokenize", body, headers)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if answer.status != 200:
            raise ModelFailedError(f"llama.cpp cannot cut the text in tokens: {content[:200].decode(errors='replace')}")
        return [int(token) for token in json.loads(content)["tokens"]]

    def beginning(self, text: str) -> list[int]:
        """What the model wants before a text: one token, or none."""
        word = text.split(maxsplit=1)[0][:20]
        plain, whole = self.tokens(word, special=False), self.tokens(word, special=True)
        return whole[:1] if whole[1 : 1 + len(plain)] == plain else []

    def forced(self, prompt: Sequence[int], wanted: Sequence[int]) -> list[float]:
        """−log p of each of the tokens `wanted`, given `prompt` and those before it."""
        grammar = "root ::= " + " ".join(f"<[{token}]>" for token in wanted)
        request = {
            "prompt": list(prompt), "max_tokens": len(wanted), "grammar": grammar, "logprobs": 1, "temperature": 0,
            "cache_prompt": False, "repeat_penalty": 1.0,
        }  # fmt: skip
        try:
            answer = self._server.handle_completions(request)
            said = answer["choices"][0]["logprobs"]["content"]
        except (ValueError, RuntimeError, KeyError, TypeError) as error:
            raise ModelFailedError(f"llama.cpp did not score the text: {str(error)[:200]}") from None
        if [each["id"] for each in said] != list(wanted):
            raise ModelFailedError("llama.cpp did not say the tokens that its grammar allowed; update xllamacpp")
        nats = [-float(each["logprob"]) if each["logprob"] is not None else math.nan for each in said]
        if not all(map(math.isfinite, nats)):
            raise ModelFailedError("the model's probabilities are no numbers: its weights are damaged")
        return nats


class _LocalConnection(http.client.HTTPConnection):
    """HTTP over a Unix domain socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)


@contextmanager
def _served(file: Path, threads: int) -> Iterator[_Served]:
    os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)
    try:
        import xllamacpp
    except ImportError:
        raise InvalidInputError("GGUF models need llama.cpp: pip install 'airserve[llm]'") from None
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(file)
    parameters.n_parallel = parameters.n_threads_http = 1
    parameters.n_ctx = 2 * WINDOW
    parameters.fit_params = False
    parameters.verbosity = _SILENT
    parameters.cache_ram_mib = 0
    for cpu in (parameters.cpuparams, parameters.cpuparams_batch):
        cpu.n_threads = threads
    with tempfile.TemporaryDirectory(prefix="airserve-") as folder:
        path, key = f"{folder}/llama.sock", secrets.token_hex()
        parameters.hostnames, parameters.api_keys = [path], [key]
        try:
            server = xllamacpp.Server(parameters)
        except RuntimeError:
            raise BadPackageError(f"llama.cpp cannot load {file.name}: it is damaged, or of an unknown kind") from None
        try:
            # One that is freed before its loop has begun waits for it for ever: an answer shows that it has.
            server.handle_completions({"prompt": "a", "max_tokens": 1})
        except (ValueError, RuntimeError) as error:
            raise ModelFailedError(f"llama.cpp cannot run {file.name}: {str(error)[:200]}") from None
        yield _Served(server, path, key)
