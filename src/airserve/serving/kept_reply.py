"""Replies that are kept: their size, and a copy that holds nothing but itself."""

from __future__ import annotations

from dataclasses import replace

from airserve.core.call import Array, Reply

_OBJECT_BYTES = 60
"""What an element of a BYTES tensor takes beside its bytes."""


def size_of(reply: Reply) -> int:
    """The bytes of all outputs, as they lie in memory."""
    return sum(map(_array_bytes, reply.outputs.values()))


def kept(reply: Reply) -> Reply:
    """`reply` to keep and to give again: its arrays cannot be written to, and are no views of a whole batch."""
    own = reply
    for name, array in reply.outputs.items():
        if array.base is not None:
            array = array.copy()
            if own is reply:
                own = replace(reply, outputs=dict(reply.outputs))
            own.outputs[name] = array
        array.setflags(write=False)
    return own


def _array_bytes(array: Array) -> int:
    if array.dtype.kind == "O":
        return sum(_OBJECT_BYTES + len(element) for element in array.ravel())
    return array.nbytes
