"""What a client of an experiment prints: one JSON object a call, on a line of standard output."""

from __future__ import annotations

import msgspec

from airserve.core.errors import InvalidInputError


class CallLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """One call: `t` is when it began (seconds of CLOCK_MONOTONIC), `ms` what it took, `ok` whether it was answered.

    Bytes are those of the call's request and answer; `place` is where the answer was made (`cloud`, `device`, `split`),
    `codec` how the input travelled, `correct` whether the answer is the true one, `cpu_ms` the processor time that the
    client spent on it. What is not known is left out.
    """

    ms: float
    ok: bool = True
    t: float | None = None
    bytes_up: int | None = None
    bytes_down: int | None = None
    place: str | None = None
    codec: str | None = None
    correct: bool | None = None
    cpu_ms: float | None = None


def parse_line(line: bytes) -> CallLine | None:
    """The call of a line, or None for a line that is no JSON object. Raises InvalidInputError for a malformed call."""
    if not line.lstrip().startswith(b"{"):
        return None
    try:
        call = msgspec.json.decode(line, type=CallLine)
    except msgspec.DecodeError as error:
        raise InvalidInputError(
            f"a client's line is no call ({error}): {line[:200].decode(errors='replace')}"
        ) from None
    if not 0 <= call.ms < 1e9:
        raise InvalidInputError(f"a client's line has ms of {call.ms}: it must be 0 or more")
    return call
