"""Gemma 3 270M: an answer of 24 tokens each two seconds, to a question that was not asked before."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from airserve.core.call import Array, Tensors

TOKENS = 24


class Chat:
    """`inputs` is the question. Whoever waits for words has no deadline, and no device that could answer."""

    model = tensor_model = "gemma"
    every_s, at_once, deadline_s = 2.0, 1, 0.0
    fixed_codec = "raw"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def inputs(self, number: int) -> Tensors:
        """One question."""
        question = np.empty(1, object)
        question[0] = f"Chapter {number}. Tell me a story about a miller with three sons.".encode()
        return {"question": question}

    def tensors(self, number: int) -> Tensors:
        """The same."""
        return self.inputs(number)

    def judge(self, number: int, outputs: Mapping[str, Array]) -> bool:
        """Whether there is an answer; `number` does not matter."""
        return bool(len(outputs["answer"]))

    @staticmethod
    def prepare(folder: Path) -> list[list[str]]:
        """The weights lie in a package of Python; they are published from there."""
        from tests import large_models

        folder.mkdir(parents=True, exist_ok=True)
        words = ["airserve", "publish", str(large_models.gemma()), "--name", Chat.model, "--context", "512"]
        return [[*words, "--slots", "1"]]
