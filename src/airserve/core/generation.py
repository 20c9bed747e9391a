"""A request for generated text, and the pieces in which its answer comes.

The vocabulary of both is OpenAI's (chat completions and completions API reference), since every engine here and every
client out there speaks it; protocols other than OpenAI's translate.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Generation:
    """What to generate. `parameters` holds `messages` (chat) or `prompt`, and the sampling parameters, all checked.

    It never holds `model`, `stream` or `stream_options`: those are the protocol's affair. An engine that remembers
    prompts lets only the same `owner` profit from them: the tenant.
    """

    chat: bool
    parameters: dict[str, Any]
    owner: str = ""


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """As the engine counts them. `cached` prompt tokens are part of `input`."""

    input: int = 0
    cached: int = 0
    output: int = 0


@dataclass(frozen=True, slots=True)
class Piece:
    """A step of an answer: OpenAI's `choices` of one chunk (`delta` for chat, `text` for completions).

    `tokens` counts everything so far. The `final` piece comes once, last, and carries each choice's `finish_reason`. A
    piece without choices only counts tokens whose text is held back; no client sees it.
    """

    choices: list[dict[str, Any]] = field(default_factory=list)
    tokens: TokenCounts = TokenCounts()
    final: bool = False
