"""Language models in GGUF, by llama.cpp: continuous batching over slots, prompts cached in each slot.

`xllamacpp` runs llama.cpp's server on a thread of this process; requests and chunks are OpenAI's JSON. It releases the
GIL while it computes and while it waits.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from airserve.core.errors import BadPackageError, InvalidInputError
from airserve.core.generation import Generation, Piece
from airserve.engines.base import Generator
from airserve.engines.llama_chunks import Chunks
from airserve.engines.llama_slots import Slots
from airserve.engines.options import Language, Source

_SILENT = -1
_SPINS = "2000"
"""How often a compute thread looks for the others before it sleeps (libgomp). Its default of milliseconds burns the
cores that this server shares with its threads: with both cores taken, 240 tokens cost 18 s of processor time, not 7."""


class LlamaGenerator:
    """One loaded model. `generate` may be called from `slots` threads at once."""

    embeds = False

    def __init__(self, path: Path, language: Language, *, threads: int, name: str = "") -> None:
        """Of the file at `path`, which is called `name` in its package where that is another."""
        self.slots = language.slots
        self._slots = Slots(language.slots)
        self._server = _start(path, language, threads, name or path.name)

    def generate(self, generation: Generation, emit: Callable[[Piece], bool]) -> None:
        """Hand on each token as it comes. Raises `InvalidInputError` for what the model cannot take."""
        handle = self._server.handle_chat_completions if generation.chat else self._server.handle_completions
        chunks = Chunks(emit, chat=generation.chat)
        spreads = generation.parameters.get("n", 1) > 1
        with self._slots.taken(generation.owner, spreads=spreads) as (slot, cache_is_own):
            request = {
                **generation.parameters,
                "stream": True,
                "stream_options": {"include_usage": True},
                # Each chunk then says how many tokens were produced, with those whose text is held back.
                "timings_per_token": True,
                "id_slot": slot,
                "cache_prompt": cache_is_own,
            }
            try:
                handle(msgspec.json.encode(request), chunks.take)
            except (ValueError, RuntimeError) as error:
                # Raised while the request is read: for its schema, its messages, or by the model's chat template.
                raise InvalidInputError(f"the model cannot take this request: {_first_line(error)}") from None
        chunks.finish()

    def close(self) -> None:
        """Free the model."""
        del self._server


def load(source: Source, *, threads: int) -> Generator:
    """The GGUF file of a package, ready to generate."""
    # Mapped while it is loaded, and from then on kept by the mapping.
    with source.contents.opened(source.file) as path:
        return LlamaGenerator(path, source.language or Language(), threads=threads, name=source.file)


def _start(path: Path, language: Language, threads: int, name: str) -> Any:
    # Read once, when the library is loaded.
    os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)
    try:
        import xllamacpp
    except ImportError:
        raise BadPackageError(
            'this server cannot run GGUF models yet; install what they need: pip install "airserve[llm]"'
        ) from None
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(path)
    parameters.n_parallel = language.slots
    parameters.n_ctx = language.context * language.slots
    parameters.fit_params = False
    parameters.verbosity = _SILENT
    # Prompts stay cached in the slots; the second cache beside them would take up to 8 GiB.
    parameters.cache_ram_mib = 0
    parameters.n_threads_http = 1
    for cpu in (parameters.cpuparams, parameters.cpuparams_batch):
        cpu.n_threads = threads
    if language.chat_template is not None:
        parameters.chat_template = language.chat_template
    # llama.cpp's server cannot be told not to listen. So it listens in a folder of ours that is gone once it runs.
    with tempfile.TemporaryDirectory(prefix="airserve-") as folder:
        parameters.hostnames = [f"{folder}/unused.sock"]
        parameters.api_keys = [secrets.token_hex()]
        try:
            return xllamacpp.Server(parameters)
        except RuntimeError:
            raise BadPackageError(
                f"llama.cpp cannot load {name}: the file is damaged, of an architecture that this version does "
                "not know, or needs more memory than there is; fewer slots or a smaller context need less"
            ) from None


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
