"""Run the sealed calls of one batch: open each, run together what fits together, seal each answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from airserve.core.call import Tensors
from airserve.core.errors import (
    AirserveError,
    InvalidInputError,
    ModelFailedError,
    OverloadedError,
    SealedClockError,
    SealedKeyError,
    SealedReplayError,
)
from airserve.core.tensor import Signature
from airserve.engines.base import Model
from airserve.engines.sealed_inputs import check_inputs
from airserve.engines.sealed_messages import How, SealedAnswer
from airserve.engines.sealed_opening import Opener, ReplySeal

Result = tuple[SealedAnswer, bytes]
"""What became of a call, and its sealed reply or reason (empty for a call that was not opened)."""


@dataclass(frozen=True, slots=True)
class _Call:
    position: int
    inputs: Tensors
    outputs: Sequence[str] | None
    rows: int
    reply: ReplySeal


def run_sealed(
    model: Model, opener: Opener, calls: Sequence[tuple[bytes, str]], clock: Callable[[], int]
) -> list[Result]:
    """The result of each of `calls`, sealed messages with their call ids; `clock` is UTC in nanoseconds."""
    results: dict[int, Result] = {}
    opened = []
    for position, (message, call_id) in enumerate(calls):
        found = _open(model.signature, opener, position, message, call_id, clock())
        if isinstance(found, _Call):
            opened.append(found)
        else:
            results[position] = found
    for group in _groups(opened, model.signature):
        results.update(_run(model, group))
    return [results[position] for position in range(len(calls))]


def _open(
    signature: Signature, opener: Opener, position: int, message: bytes, call_id: str, now_ns: int
) -> _Call | Result:
    try:
        call = opener.open(message, call_id, now_ns)
    except AirserveError as error:
        return SealedAnswer(_how(error)), b""
    try:
        inputs, outputs = call.tensors()
        return _Call(position, inputs, outputs, check_inputs(inputs, outputs, signature), call.reply)
    except AirserveError as error:
        return SealedAnswer("refused"), call.reply.reason(error.message)


def _how(error: AirserveError) -> How:
    if isinstance(error, SealedKeyError):
        return "key"
    if isinstance(error, SealedClockError):
        return "clock"
    if isinstance(error, SealedReplayError):
        return "replay"
    return "full" if isinstance(error, OverloadedError) else "unseal"


def _groups(calls: Sequence[_Call], signature: Signature) -> Iterator[list[_Call]]:
    """Calls whose rows can be stacked, at most `max_batch` rows each."""
    alike: dict[Hashable, list[list[_Call]]] = {}
    for call in calls:
        shapes = tuple((spec.name, call.inputs[spec.name].shape[1:]) for spec in signature.inputs)
        groups = alike.setdefault(shapes, [[]])
        if groups[-1] and sum(each.rows for each in groups[-1]) + call.rows > signature.max_batch:
            groups.append([])
        groups[-1].append(call)
    for groups in alike.values():
        yield from groups


def _run(model: Model, calls: list[_Call]) -> dict[int, Result]:
    """A group that fails is run again call by call, so that one bad input fails alone."""
    rows = sum(call.rows for call in calls)
    start = time.monotonic_ns()
    try:
        if len(calls) == 1:
            outputs = model.run(calls[0].inputs)
        else:
            names = calls[0].inputs
            outputs = model.run({name: np.concatenate([call.inputs[name] for call in calls]) for name in names})
            if any(array.shape[:1] != (rows,) for array in outputs.values()):
                raise ModelFailedError("an output has another number of rows than the inputs")
    except Exception as error:
        if len(calls) > 1:
            return {position: result for call in calls for position, result in _run(model, [call]).items()}
        return {calls[0].position: _failure(calls[0], error)}
    took_ns = max(1, time.monotonic_ns() - start)
    results, first = {}, 0
    for call in calls:
        last = first + call.rows
        mine = {name: array[first:last] if len(calls) > 1 else array for name, array in outputs.items()}
        wanted = mine if call.outputs is None else {name: mine[name] for name in call.outputs}
        results[call.position] = (SealedAnswer("answered", call.rows, rows, took_ns), call.reply.outputs(wanted))
        first = last
    return results


def _failure(call: _Call, error: Exception) -> Result:
    refused = isinstance(error, InvalidInputError)
    sentence = error.message if isinstance(error, AirserveError) else f"the model failed: {type(error).__name__}"
    return SealedAnswer("refused" if refused else "failed", call.rows), call.reply.reason(sentence)
