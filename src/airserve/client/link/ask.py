"""What a caller wants of one call: the options that make a call link-aware, checked."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict

from airserve.client.calls import new_call_id
from airserve.client.exchange import tensors_of
from airserve.client.link.chooser import Prefer
from airserve.client.link.plan import Place
from airserve.core.call import Tensors
from airserve.core.errors import InvalidInputError

Fallback = Literal["device"]


class LinkOptions(TypedDict, total=False):
    """`deadline` in seconds for the answer; `accuracy` the least, relative to the whole model on raw inputs (0 to 1).

    `fallback="device"` answers on the device where the cloud cannot in time; `prefer` says what to keep small;
    `explain` leaves the alternatives in `answer.explanation`. `place` and `codec` ("raw" for none) leave no choice:
    for experiments, and to compare.
    """

    deadline: float | None
    accuracy: float | None
    fallback: Fallback | None
    prefer: Prefer
    explain: bool
    place: Place | None
    codec: str | None


@dataclass(frozen=True, slots=True)
class Ask:
    """One call to be answered by the link-aware client, asked at `began` of the monotonic clock."""

    model: str
    inputs: Tensors
    version: str | None
    outputs: tuple[str, ...] | None
    call_id: str
    timeout_ms: float | None = None
    idempotency_key: str | None = None
    deadline_s: float | None = None
    accuracy: float | None = None
    fallback: Fallback | None = None
    prefer: Prefer = "latency"
    explain: bool = False
    place: Place | None = None
    codec: str | None = None
    variant: str | None = None
    min_accuracy: float | None = None
    began: float = field(default_factory=time.monotonic)


def refuse_sealed_link(options: LinkOptions) -> None:
    """A sealed call goes to the model's own process, whole and as it is."""
    if options:
        raise InvalidInputError(f"a sealed call takes no {', '.join(sorted(options))}; leave them out, or sealed")


def new_ask(
    model: str,
    inputs: Mapping[str, Any],
    version: str | None,
    outputs: Sequence[str] | None,
    timeout_ms: float | None,
    call_id: str | None,
    idempotency_key: str | None,
    options: LinkOptions,
    variant: str | None = None,
    min_accuracy: float | None = None,
) -> Ask:
    """The call, under `call_id` or a new id. Raises `InvalidInputError` for options that make no sense.

    `variant` and `min_accuracy` are of the service's variants, so no other place answers.
    """
    deadline, accuracy = options.get("deadline"), options.get("accuracy")
    prefer, fallback = options.get("prefer", "latency"), options.get("fallback")
    if deadline is not None and not 0 < deadline < 3600:
        raise InvalidInputError(f"deadline={deadline} is in seconds, above 0 and below an hour; 80 ms are 0.08")
    if accuracy is not None and not 0 <= accuracy <= 1:
        raise InvalidInputError(f"accuracy={accuracy} is relative to the whole model, from 0 to 1; 0.99 loses 1 %")
    if prefer not in ("latency", "bytes", "energy"):
        raise InvalidInputError(f"prefer={prefer!r} is not known; use 'latency', 'bytes' or 'energy'")
    if fallback not in (None, "device"):
        raise InvalidInputError(f"fallback={fallback!r} is not known; use 'device' or None")
    if (place := options.get("place")) not in (None, "cloud", "device", "split"):
        raise InvalidInputError(f"place={place!r} is not known; use 'cloud', 'device' or 'split'")
    if variant is not None or min_accuracy is not None:
        if place not in (None, "cloud") or fallback is not None:
            raise InvalidInputError("variant and min_accuracy are of the service; leave out place and fallback")
        place = "cloud"
    return Ask(
        model=model,
        inputs=tensors_of(inputs),
        version=version,
        outputs=None if outputs is None else tuple(outputs),
        call_id=call_id or new_call_id(),
        timeout_ms=timeout_ms,
        idempotency_key=idempotency_key,
        deadline_s=deadline,
        accuracy=accuracy,
        fallback=fallback,
        prefer=prefer,
        explain=options.get("explain", False),
        place=place,
        codec=options.get("codec"),
        variant=variant,
        min_accuracy=min_accuracy,
    )
