"""Which of the served variants may answer a call: what its plan and the call itself ask of them."""

from __future__ import annotations

from collections.abc import Sequence

from airserve.core.call import VariantAsked
from airserve.core.errors import InvalidInputError
from airserve.models.manifest import Variant

_NOTHING = VariantAsked()


def allowed(model: str, served: Sequence[Variant], asked: VariantAsked | None, floor: float | None) -> int:
    """One bit for each of `served`, the most accurate first; 1 for one that may answer.

    `asked` is what the call wants. `floor` is what the tenant's plan wants of the variants that are not the best that
    there is: a plan is for many models, whose accuracies are not of one kind. Raises `InvalidInputError`, which names
    what there is, where none is left.
    """
    asked = asked or _NOTHING
    least, floor, name = asked.min_accuracy or 0.0, floor or 0.0, asked.name
    bits = 0
    for index, variant in enumerate(served):
        accuracy = accuracy_of(variant)
        if accuracy >= least and (accuracy >= floor or not index) and name in (None, variant.name):
            bits |= 1 << index
    if not bits:
        raise InvalidInputError(_sentence(model, served, name, max(least, floor)))
    return bits


def best_of(bits: int) -> int:
    """The most accurate of those that are allowed."""
    return (bits & -bits).bit_length() - 1


def accuracy_of(variant: Variant) -> float:
    """As the manifest says; one that was never measured is the model itself, 1.0."""
    return 1.0 if variant.accuracy is None else variant.accuracy


def _sentence(model: str, served: Sequence[Variant], name: str | None, least: float) -> str:
    there_is = ", ".join(f"{each.name} ({accuracy_of(each):g})" for each in served) or "none"
    if name is not None and all(each.name != name for each in served):
        return f"model '{model}' is not served as variant '{name[:80]}'; there is {there_is}"
    pinned = "" if name is None else f" as '{name}'"
    return f"no answer of model '{model}'{pinned} has an accuracy of {least:g} or more; there is {there_is}"
