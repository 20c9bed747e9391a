"""Whether callers of one version of a model can be answered by another without noticing, but for the answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from airserve.core.errors import ConflictError, InvalidInputError
from airserve.engines import generates
from airserve.models.manifest import Manifest, Tensor
from airserve.models.rollout.guards import Guard


def check_fit(model: str, old: Manifest, new: Manifest, guards: Sequence[Guard], shadow: int) -> None:
    """Refuse a rollout from `old` to `new` in which some call would fail, or some guard would have nothing to judge.

    Raises `ConflictError` that says in what they differ, and `InvalidInputError` for the guard or the shadow.
    """
    if problems := list(_problems(old, new)):
        raise ConflictError(
            f"the versions of '{model}' differ in more than their answers, so calls would fail: {'; '.join(problems)}. "
            f"Publish it under another alias, and have callers go over: airserve models alias {model} VERSION"
        )
    if shadow and generates(new.engine):
        raise InvalidInputError(f"'{model}' generates text, which nobody can compare: leave --shadow out")
    if not any(guard.kind == "agreement" for guard in guards):
        return
    if generates(new.engine):
        raise InvalidInputError(
            f"whether two texts agree is not defined, and '{model}' generates text: leave the guard 'agreement' out"
        )
    if old.labels != new.labels:
        raise InvalidInputError(
            f"the versions of '{model}' have other labels, so their answers cannot agree: leave the guard out"
        )


def _problems(old: Manifest, new: Manifest) -> Iterator[str]:
    if generates(old.engine) != generates(new.engine):
        yield "one of them generates text"
        return
    for manifest in (old, new):
        if manifest.sealed is not None:
            yield "a sealed call is for the key of one version"
            return
        if manifest.split is not None:
            yield "the tail of a split model fits the head of its own version"
            return
    yield from _input_problems(old.inputs, new.inputs)
    if [(each.name, each.datatype, each.shape[1:]) for each in _sorted(old.outputs)] != [
        (each.name, each.datatype, each.shape[1:]) for each in _sorted(new.outputs)
    ]:
        yield "their outputs have other names, datatypes or shapes"
    if bool(old.max_batch) != bool(new.max_batch) or new.max_batch < old.max_batch:
        yield f"the most rows of a call are {new.max_batch} instead of {old.max_batch}"
    known = {(entry.tensor, entry.codec) for entry in new.codecs}
    missing = sorted(
        {f"{each.codec} of '{each.tensor}'" for each in old.codecs if (each.tensor, each.codec) not in known}
    )
    if missing:
        yield f"the new one was not measured with the codec {', '.join(missing)}"


def _input_problems(old: Sequence[Tensor], new: Sequence[Tensor]) -> Iterator[str]:
    wanted = {each.name: each for each in new}
    if {each.name for each in old} != wanted.keys():
        yield "their inputs have other names"
        return
    for each in old:
        other = wanted[each.name]
        if each.datatype != other.datatype:
            yield f"input '{each.name}' is {other.datatype} instead of {each.datatype}"
        elif not _takes(other.shape, each.shape):
            yield f"input '{each.name}' has the shape {list(other.shape)} instead of {list(each.shape)}"


def _takes(new: Sequence[int], old: Sequence[int]) -> bool:
    """Whether every shape that fits `old` fits `new`."""
    return len(new) == len(old) and all(size in (-1, before) for size, before in zip(new, old, strict=True))


def _sorted(tensors: Sequence[Tensor]) -> list[Tensor]:
    return sorted(tensors, key=lambda each: each.name)
