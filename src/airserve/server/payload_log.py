"""What a project's calls carried, kept only where the project asked for it: JSON lines, encrypted where the store is.

    payloads/<project>/<day>-<run>-<number>.jsonl          one JSON object a line, or
    payloads/<project>/<day>-<run>-<number>.jsonl.sealed   a head with the file's wrapped key, then one sealed line each

A sealed line is AES-256-GCM in Base64, bound to project, file and its number in the file: lines that were moved, left
out or changed do not open. Named fields and everything that looks like an API key are left out before anything is
written. Files older than the project's retention are removed.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from airserve.accounts.payload_logging import PayloadLogging
from airserve.core.call import Array, Tensors
from airserve.core.errors import BadPackageError, InvalidInputError
from airserve.core.tensor import datatype_of
from airserve.models.store_key import KeyService

FILE_BYTES = 64 << 20
MAX_ELEMENTS = 10_000
REDACTED = "[redacted]"
_SEALED = ".sealed"
_RETENTION = "retention_days"
_NONCE_BYTES = 12
_PROJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
# Ours; then what OpenAI, GitHub, Slack and AWS give out, and whatever follows "Bearer".
_KEYS = re.compile(
    r"\bas_[a-z]+_[0-9A-Za-z]{16,}|\bsk-[0-9A-Za-z_-]{16,}|\bgh[a-z]_[0-9A-Za-z]{16,}|\bxox[a-z]-[0-9A-Za-z-]{10,}"
    r"|\bAKIA[0-9A-Z]{16}|(?<=\bBearer )[0-9A-Za-z._~+/=-]{8,}"
)


class _Head(msgspec.Struct, frozen=True):
    """The first line of a sealed file: its data key under the store key `key_id`."""

    key_id: str
    wrapped: str


class PayloadLog:
    """The payload files below `folder`. Used by one thread, which may block; `key` None writes them in plaintext."""

    def __init__(self, folder: Path, key: KeyService | None, *, run: str, file_bytes: int = FILE_BYTES) -> None:
        """`run` names this process among those that write into `folder`, and is new at each start."""
        self._folder = folder
        self._key = key
        self._run = run
        self._file_bytes = file_bytes
        self._open: dict[str, _File] = {}
        self._number = 0

    def append(self, project: str, setting: PayloadLogging, record: Mapping[str, Any], now_ns: int) -> None:
        """Write one record of a project, redacted; nothing where its setting is off. `now_ns` is UTC."""
        if not setting.enabled:
            return
        day = _day(now_ns)
        file = self._open.get(project)
        if file is None or file.day != day or file.size >= self._file_bytes:
            if file is not None:
                file.close()
            self._keep_for(project, setting.retention_days)
            self.sweep(now_ns)
            self._number += 1
            name = f"{day}-{self._run}-{self._number:06d}.jsonl"
            file = self._open[project] = _File(_project_folder(self._folder, project), name, day, self._key)
        file.write(msgspec.json.encode(redacted(record, frozenset(setting.redact))))

    def sweep(self, now_ns: int) -> int:
        """Remove every project's files of days before its retention, also where logging is off by now; how many."""
        removed = 0
        for project in kept_projects(self._folder):
            folder = _project_folder(self._folder, project)
            days = int((folder / _RETENTION).read_text())
            oldest = _day(now_ns - days * 86_400 * 10**9)
            for path in folder.glob("*.jsonl*"):
                if path.name[:10] < oldest:
                    path.unlink(missing_ok=True)
                    removed += 1
        return removed

    def _keep_for(self, project: str, days: int) -> None:
        """The retention stays with the files: whoever sweeps asks no database."""
        folder = _project_folder(self._folder, project)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = folder / f".{_RETENTION}-{self._run}"
        temporary.touch(mode=0o600)
        temporary.write_text(str(days))
        temporary.replace(folder / _RETENTION)

    def close(self) -> None:
        """Close the files."""
        for file in self._open.values():
            file.close()
        self._open.clear()


def kept_projects(folder: Path) -> list[str]:
    """The ids of the projects of which something is kept."""
    return sorted(path.parent.name for path in folder.glob(f"*/{_RETENTION}"))


def read_payloads(folder: Path, project: str, key: KeyService | None) -> Iterator[dict[str, Any]]:
    """Every record of a project, oldest file first. A last line that a crash cut off is left out.

    Raises `BadPackageError` for a file that was changed or that `key` does not open.
    """
    for path in sorted(_project_folder(folder, project).glob("*.jsonl*")):
        lines = path.read_bytes().split(b"\n")[:-1]
        if path.name.endswith(_SEALED):
            lines = _opened(lines, project, path.name, key)
        for line in lines:
            yield msgspec.json.decode(line)


def redacted(value: Any, names: frozenset[str]) -> Any:
    """`value` without the content of fields called like one of `names`, and without API keys in any text."""
    if isinstance(value, Mapping):
        return {
            redacted(str(key), names): REDACTED if key in names else redacted(inner, names)
            for key, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [redacted(inner, names) for inner in value]
    if isinstance(value, str):
        return _KEYS.sub(REDACTED, value)
    return value


def tensors_record(tensors: Tensors) -> dict[str, Any]:
    """Tensors as JSON has them, by name; of one with more than `MAX_ELEMENTS` the shape alone."""
    return {name: _tensor_record(array) for name, array in tensors.items()}


def _tensor_record(array: Array) -> dict[str, Any]:
    record: dict[str, Any] = {"datatype": datatype_of(array), "shape": list(array.shape)}
    if array.size <= MAX_ELEMENTS:
        record["data"] = [_text(item) if isinstance(item, bytes) else item for item in array.ravel().tolist()]
    return record


def _text(item: bytes) -> str:
    try:
        return item.decode()
    except UnicodeDecodeError:
        return "base64:" + base64.b64encode(item).decode()


class _File:
    """One file that is being written; what was written is in the file when `write` returns."""

    def __init__(self, folder: Path, name: str, day: str, key: KeyService | None) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.day, self.size = day, 0
        self._project, self._name, self._line = folder.name, name, 0
        self._cipher: AESGCM | None = None
        if key is not None:
            self._name = name + _SEALED
            secret = AESGCM.generate_key(256)
            self._cipher = AESGCM(secret)
        handle = os.open(folder / self._name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        self._out: BinaryIO = os.fdopen(handle, "wb", buffering=0)
        if key is not None:
            self._out.write(msgspec.json.encode(_Head(key.id, key.wrap(secret))) + b"\n")

    def write(self, record: bytes) -> None:
        if self._cipher is not None:
            nonce = os.urandom(_NONCE_BYTES)
            place = _place(self._project, self._name, self._line)
            record = base64.b64encode(nonce + self._cipher.encrypt(nonce, record, place))
        self._out.write(record + b"\n")
        self._line += 1
        self.size += len(record) + 1

    def close(self) -> None:
        self._out.close()


def _opened(lines: list[bytes], project: str, name: str, key: KeyService | None) -> list[bytes]:
    if not lines:
        return []
    try:
        head = msgspec.json.decode(lines[0], type=_Head)
    except msgspec.MsgspecError:
        raise BadPackageError(f"{name} is damaged: its head is none") from None
    if key is None or key.id != head.key_id:
        raise BadPackageError(f"{name} is encrypted under the store key {head.key_id}, which is not configured here")
    cipher = AESGCM(key.unwrap(head.wrapped))
    opened = []
    for number, line in enumerate(lines[1:]):
        try:
            sealed = base64.b64decode(line, validate=True)
            opened.append(cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _place(project, name, number)))
        except (InvalidTag, binascii.Error, ValueError):
            raise BadPackageError(f"{name}: line {number + 1} was changed or moved") from None
    return opened


def _place(project: str, name: str, line: int) -> bytes:
    return f"{project}\0{name}\0{line}".encode()


def _project_folder(folder: Path, project: str) -> Path:
    if not _PROJECT.fullmatch(project):
        raise InvalidInputError(f"'{project[:80]}' is no id of a project")
    return folder / project


def _day(ns: int) -> str:
    return f"{dt.datetime.fromtimestamp(ns / 1e9, dt.UTC):%Y-%m-%d}"
