"""What the serving process and the worker of a sealed model say to each other, beside `Run`, `Done` and `Failed`."""

from __future__ import annotations

from typing import Literal

import msgspec

from airserve.codecs.sealed_key import SignedKey
from airserve.core.tensor import Signature
from airserve.engines.options import Sealed, Text, Vision
from airserve.engines.python_messages import Done, Failed, Ready, Run
from airserve.engines.shared_tensors import Placed

How = Literal["answered", "key", "unseal", "clock", "replay", "full", "refused", "failed"]
"""What became of a sealed call. `refused` (the input does not fit) and `failed` (the model) have a sealed reason."""


class LoadSealed(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """The first request: load a package, make a key, and sign it with the identity in the file `identity`."""

    engine: str
    folder: str
    file: str
    signature: Signature
    labels: tuple[str, ...]
    vision: Vision | None
    text: Text | None
    threads: int
    model: str
    version: int
    package: str
    identity: str
    options: Sealed


class RunSealed(msgspec.Struct, frozen=True, tag=True):
    """Open, run and seal the calls at `tensors`: BYTES [n] of calls, and BYTES [n] of the call ids they came under."""

    tensors: list[Placed]


class GiveKey(msgspec.Struct, frozen=True, tag=True):
    """Tell the key of this moment."""

    tensors: list[Placed]


class KeyInUse(msgspec.Struct, frozen=True):
    """The key that clients should seal to until `renew_at` (seconds, UTC), and the identity that signed it."""

    identity: str
    key: SignedKey
    renew_at: float


class SealedAnswer(msgspec.Struct, frozen=True, array_like=True):
    """What became of one call. It had `rows` rows of the `batch_rows` that were computed together in `compute_ns`."""

    how: How
    rows: int = 1
    batch_rows: int = 1
    compute_ns: int = 0


class ReadySealed(Ready, frozen=True, tag=True):
    """The model is loaded."""

    key: KeyInUse


class DoneSealed(Done, frozen=True, tag=True):
    """`answers` to the calls, their sealed replies in the one tensor, and the key of this moment."""

    answers: list[SealedAnswer]
    key: KeyInUse


SealedRequest = Run | RunSealed | GiveKey
FromWorker = ReadySealed | Done | DoneSealed | Failed
