"""Lets a graph in: what nobody has tried yet is tried in a process that it may kill, exhaust or hang.

Only then is it loaded where others are served. The same bytes are tried once in the life of a process.
"""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import msgspec

from airserve.core.errors import (
    BY_CODE,
    AirserveError,
    BadPackageError,
    ModelRejectedError,
    NotFoundError,
    TooLargeError,
)
from airserve.core.tensor import TensorSpec
from airserve.engines.model_process import interpreter
from airserve.models.formats import refuse_unsafe
from airserve.models.onnx_limits import OnnxLimits
from airserve.models.package import file_hash

_MAX_BYTES = (1 << 31) - 1
_START_SECONDS = 30


class Admitted(msgspec.Struct, frozen=True):
    """What a graph that loads and runs within its limits takes and gives; `code` and `message` of one that does not."""

    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    code: str | None = None
    message: str = ""


_tried: dict[tuple[str, OnnxLimits], Admitted] = {}


def admit(path: Path, limits: OnnxLimits | None = None) -> Admitted:
    """Try the graph in the file `path`, unless this process has seen it tried.

    Raises `UnsafeFormatError` for what is no graph at all, `BadPackageError` for a damaged one, and
    `ModelRejectedError` for one over a limit, or one that its process did not survive.
    """
    limits = limits or OnnxLimits()
    if not path.is_file():
        raise NotFoundError(f"{path} does not exist")
    if path.stat().st_size > _MAX_BYTES:
        raise TooLargeError(f"{path.name} is larger than 2 GiB, the most that one ONNX file can hold")
    refuse_unsafe(path)
    known = (file_hash(path), limits)
    if known not in _tried:
        _tried[known] = _try(path, limits)
    admitted = _tried[known]
    if admitted.code is not None:
        raise BY_CODE.get(admitted.code, BadPackageError)(admitted.message)
    return admitted


def _try(path: Path, limits: OnnxLimits) -> Admitted:
    text = msgspec.json.encode(limits).decode()
    command = [interpreter(), "-P", "-B", "-m", "airserve.models.onnx_trial", text, path.name, str(os.getpid())]
    with path.open("rb") as model:
        try:
            done = subprocess.run(
                command,
                stdin=model,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={"PATH": os.environ.get("PATH", os.defpath)},
                cwd="/",
                timeout=_START_SECONDS + limits.seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise ModelRejectedError(f"{path.name} did not load and run within {limits.seconds} s") from None
        except OSError as error:
            raise AirserveError(f"the process that tries new models cannot start: {error.strerror}") from None
    if done.returncode != 0:
        raise ModelRejectedError(f"{path.name} is refused: {_end(done.returncode, limits)} while it was tried")
    try:
        return msgspec.json.decode(done.stdout, type=Admitted)
    except msgspec.MsgspecError:
        raise ModelRejectedError(f"{path.name} is refused: its process answered nonsense while it was tried") from None


def _end(code: int, limits: OnnxLimits) -> str:
    """How the process ended, for people."""
    if code in (-signal.SIGXCPU, -signal.SIGKILL):
        return f"it took more than {limits.seconds} s of processor time, or more memory than there is,"
    if code < 0:
        return f"it crashed ONNX Runtime ({signal.Signals(-code).name})"
    return f"its process ended with code {code}"
