"""Where unfinished work is kept, so that the same command goes on where it was interrupted.

    NAME-VERSION.onnx     a variant that was made whole
    NAME-VERSION.npz      what its accuracy is computed from
    NAME-VERSION.3.json   its fourth round of timing

Each file is written whole or not at all. The folder's name stands for everything that the results depend on.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from airserve.core.call import Array, Tensors
from airserve.models.optimise.family import Round

_ARRAY = "answer."


@dataclass(frozen=True, slots=True)
class Item:
    """The files of one variant in the work folder; the original has no weights there, but in its package."""

    folder: Path
    key: str
    suffix: str

    @property
    def weights(self) -> Path:
        """Where the variant's file is, once it was made."""
        return self.folder / f"{self.key}{self.suffix}"

    def make(self, write: Callable[[Path], None]) -> Path:
        """Have the file written by `write`, unless it is there; whatever `write` raises leaves nothing behind."""
        if not self.weights.exists():
            scratch = Path(tempfile.mkdtemp(prefix="making-", dir=self.folder))
            try:
                target = scratch / self.weights.name
                write(target)
                target.replace(self.weights)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
        return self.weights

    def answers(self, judge: Callable[[], Tensors]) -> Tensors:
        """What accuracy is computed from, judged now unless it was."""
        file = self.folder / f"{self.key}.npz"
        if not file.exists():
            found = judge()
            part = file.with_suffix(".part.npz")
            # A prefix: an array called `file` would be taken for the function's own argument.
            np.savez(part, **{f"{_ARRAY}{name}": array for name, array in found.items()})  # type: ignore[arg-type]
            part.replace(file)
            return found
        with np.load(file, allow_pickle=False) as archive:
            return {name.removeprefix(_ARRAY): archive[name] for name in archive.files}

    def round(self, number: int, time: Callable[[], Round]) -> Round:
        """A round of timing, done now unless it was."""
        file = self.folder / f"{self.key}.{number}.json"
        try:
            return msgspec.json.decode(file.read_bytes(), type=Round)
        except (FileNotFoundError, msgspec.MsgspecError):
            done = time()
            _write_whole(file, msgspec.json.encode(done))
            return done


class Work:
    """The folder of one piece of work below `root`, made where it is not there; `fresh` begins anew."""

    def __init__(self, root: Path, key: str, *, fresh: bool = False) -> None:
        self.folder = root / key
        if fresh:
            shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for left in self.folder.glob("making-*"):
            shutil.rmtree(left, ignore_errors=True)

    def item(self, name: str, version: int, suffix: str) -> Item:
        """The files of a variant."""
        return Item(self.folder, f"{name}-{version}", suffix)


def work_key(parts: Sequence[str | bytes]) -> str:
    """A name for work that depends on these parts, in their order."""
    digest = hashlib.sha256()
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        digest.update(len(content).to_bytes(8, "little") + content)
    return digest.hexdigest()[:16]


def digest_of(calls: Sequence[Tensors], *arrays: Array | None) -> str:
    """The SHA-256 of a sample and what belongs to it, in hexadecimal."""
    digest = hashlib.sha256()
    for call in calls:
        for name in sorted(call):
            digest.update(f"{name} {call[name].dtype} {call[name].shape}\0".encode())
            _feed(digest, call[name])
    for array in arrays:
        digest.update(b"\1")
        if array is not None:
            _feed(digest, array)
    return digest.hexdigest()


def _feed(digest: hashlib._Hash, array: Array) -> None:
    if array.dtype.kind != "O":
        digest.update(np.ascontiguousarray(array).tobytes())
        return
    for element in array.ravel():
        digest.update(len(element).to_bytes(8, "little") + bytes(element))


def _write_whole(file: Path, content: bytes) -> None:
    part = file.with_name(f".{file.name}.{os.getpid()}")
    part.write_bytes(content)
    part.replace(file)
