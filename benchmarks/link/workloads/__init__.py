"""Workloads: a model, the frames that are asked about, and what the whole model says of each."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from airserve.core.call import Array, Tensors

NAMES = ("vision", "text", "sensor", "chat")


class Workload(Protocol):
    """Frame `number` is any number from 0 on; the frames begin again after the last.

    `deadline_s` is that of each call, `every_s` the time between two, `at_once` how many may wait at a time.
    `fixed_codec` is what a client would use that does not look at the link.
    """

    model: str
    tensor_model: str
    every_s: float
    at_once: int
    deadline_s: float
    fixed_codec: str

    def inputs(self, number: int) -> Tensors:
        """Of `model`."""

    def tensors(self, number: int) -> Tensors:
        """Of `tensor_model`, the same as plain tensors."""

    def judge(self, number: int, outputs: Mapping[str, Array]) -> bool:
        """Whether outputs of either model are what the whole model says of the frame as it was taken."""


class Kind(Protocol):
    """The class of a workload: opened on the folder that `prepare` filled."""

    def __call__(self, folder: Path) -> Workload: ...

    def prepare(self, folder: Path) -> list[list[str]]:
        """Fill `folder` and return the commands that publish the models."""


def kind_of(name: str) -> Any:
    """The workload's class. Raises `KeyError` for a name that is none of `NAMES`."""
    if name not in NAMES:
        raise KeyError(name)
    return getattr(importlib.import_module(f"benchmarks.link.workloads.{name}"), name.capitalize())


def open_workload(name: str, folder: Path) -> Workload:
    """The workload in a folder that was prepared."""
    opened: Workload = kind_of(name)(folder)
    return opened
