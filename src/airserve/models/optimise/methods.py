"""All ways to make a variant, in the order in which they are tried: the quick and exact ones first.

A file of this room names its ways in `METHODS`. It is imported only where its engine is asked for, since what it needs
may be an extra of its own.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass

from airserve.core.errors import InvalidInputError
from airserve.models.optimise.method import Method

_FILES = {
    "onnx": (
        ("slim", "optimise"),
        ("half_precision", "optimise"),
        ("eight_bits", "optimise"),
        ("block_weights", "optimise"),
        ("resolution", "optimise"),
        ("pruning", "torch"),
        ("distillation", "torch"),
    ),
    "llama": (("gguf_variants", "llm,optimise"),),
}
_LEARNING = {"pruning", "distillation"}
ENGINES = tuple(_FILES)


@dataclass(frozen=True, slots=True)
class Known:
    """The ways that can be tried here; `missing` says of a file why its ways cannot."""

    methods: tuple[Method, ...]
    missing: dict[str, str]


def known_methods(engine: str, names: Sequence[str] = (), *, learning: bool = True) -> Known:
    """The ways of these names for models of `engine`, all where none is named.

    Without `learning`, for there is no training set, those that need one are left out, unless they are named.
    Raises `InvalidInputError` for a name that there is not.
    """
    found: dict[str, Method] = {}
    missing: dict[str, str] = {}
    for file, extra in _FILES.get(engine, ()):
        if names and set(names) <= found.keys():
            # What comes last takes seconds to import.
            break
        if file in _LEARNING and not learning and not names:
            missing[file] = "learns from rows: give a training set with --train"
            continue
        try:
            methods = importlib.import_module(f"airserve.models.optimise.{file}").METHODS
            found |= {method.name: method for method in methods}
        except ModuleNotFoundError as error:
            missing[file] = f"needs {error.name}: pip install 'airserve[{extra}]'"
    if unknown := [name for name in names if name not in found]:
        absent = "".join(f"; {file} {why}" for file, why in missing.items())
        raise InvalidInputError(f"there is no method '{unknown[0][:80]}'; there are {', '.join(found)}{absent}")
    return Known(tuple(found[name] for name in names or found), {} if names else missing)
