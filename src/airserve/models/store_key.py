"""The key that wraps the data keys of encrypted packages: from a file, the environment, or a program that asks a KMS.

A package has a data key of its own, wrapped by this one (AES Key Wrap, RFC 3394, or whatever the program does). So a
new key is taken into use by wrapping anew, and no weight is read or written.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import shlex
import subprocess
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Protocol

from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from airserve.core.errors import AirserveError, BadPackageError, ConflictError, InvalidInputError

KEY_VARIABLE = "AIRSERVE_STORE_KEY"
_BYTES = 32
_COMMAND_SECONDS = 30
_MAX_ANSWER = 1 << 16


class KeyService(Protocol):
    """What holds a key-encryption key. `wrap` and `unwrap` are each other's inverse; the text is printable ASCII."""

    @property
    def id(self) -> str:
        """The name of the key, the same wherever it is; no secret."""
        ...

    def wrap(self, key: bytes) -> str:
        """The data key `key`, encrypted."""
        ...

    def unwrap(self, wrapped: str) -> bytes:
        """The data key again. Raises `BadPackageError` where another key wrapped it or it was changed."""
        ...


class LocalKey:
    """32 bytes in this process."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self.id = hashlib.sha256(b"airserve store key\0" + secret).hexdigest()[:16]

    def wrap(self, key: bytes) -> str:
        """AES Key Wrap, in Base64."""
        return base64.b64encode(aes_key_wrap(self._secret, key)).decode()

    def unwrap(self, wrapped: str) -> bytes:
        """The inverse."""
        try:
            return aes_key_unwrap(self._secret, base64.b64decode(wrapped, validate=True))
        except (InvalidUnwrap, binascii.Error, ValueError):
            raise BadPackageError("the package's key does not open with the store key: it was changed") from None


class CommandKey:
    """A program that asks a key service.

    `COMMAND id` prints the key's name. `COMMAND wrap` reads a data key in Base64 on standard input and prints one line,
    which `COMMAND unwrap` reads to print the data key in Base64 again. Anything but exit code 0 is a refusal.
    """

    def __init__(self, command: str) -> None:
        self._command = shlex.split(command)
        if not self._command:
            raise InvalidInputError("kms_command is empty; name the program that wraps and unwraps keys")

    @cached_property
    def id(self) -> str:
        """What the program calls the key. Asked for when it is needed: most commands need no key."""
        return self._ask("id", "")

    def wrap(self, key: bytes) -> str:
        """What the program prints for the key."""
        return self._ask("wrap", base64.b64encode(key).decode())

    def unwrap(self, wrapped: str) -> bytes:
        """What the program makes of it."""
        try:
            key = base64.b64decode(self._ask("unwrap", wrapped), validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if len(key) != _BYTES:
            raise BadPackageError(f"kms_command unwrap did not print {_BYTES} bytes in Base64")
        return key

    def _ask(self, verb: str, text: str) -> str:
        try:
            done = subprocess.run(
                [*self._command, verb],
                input=text + "\n",
                capture_output=True,
                text=True,
                timeout=_COMMAND_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError) as error:
            raise AirserveError(f"kms_command {verb} could not be run: {type(error).__name__}: {error}"[:300]) from None
        answer = done.stdout.strip()
        if done.returncode != 0 or not answer or "\n" in answer or len(answer) > _MAX_ANSWER or not answer.isascii():
            # Not what it printed: that may be a key.
            said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1][:200]
            raise AirserveError(f"kms_command {verb} refused with exit code {done.returncode}: {said}")
        return answer


def load_store_key(
    file: Path | None, command: str | None, environment: Mapping[str, str] = os.environ
) -> KeyService | None:
    """The configured key service, or None where packages are not encrypted.

    Raises `InvalidInputError` for a key that is none, or where two are configured.
    """
    variable = environment.get(KEY_VARIABLE)
    given = {"store_key_file": file, "kms_command": command, KEY_VARIABLE: variable}
    named = [name for name, value in given.items() if value]
    if len(named) > 1:
        raise InvalidInputError(f"{' and '.join(named)} are set; the store has one key, so keep one of them")
    if command:
        return CommandKey(command)
    if file is not None:
        return LocalKey(read_key_file(file))
    return LocalKey(_secret(variable.encode(), KEY_VARIABLE)) if variable else None


def read_key_file(file: Path) -> bytes:
    """The 32 bytes in a file, bare or in Base64."""
    try:
        return _secret(file.read_bytes(), str(file))
    except OSError as error:
        raise InvalidInputError(f"the store key {file} cannot be read: {error.strerror}") from None


def new_key_file(file: Path) -> LocalKey:
    """Write a new key, in Base64, to `file` (mode 0600), which must not exist."""
    secret = os.urandom(_BYTES)
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise ConflictError(f"{file} exists already; a key is never overwritten, so choose another name") from None
    with os.fdopen(handle, "wb") as out:
        out.write(base64.b64encode(secret) + b"\n")
        out.flush()
        os.fsync(out.fileno())
    return LocalKey(secret)


def _secret(content: bytes, where: str) -> bytes:
    if len(content) == _BYTES:
        return content
    try:
        secret = base64.b64decode(content.strip(), validate=True)
    except (binascii.Error, ValueError):
        secret = b""
    if len(secret) != _BYTES:
        raise InvalidInputError(
            f"{where} holds no store key: {_BYTES} bytes in Base64; make one with airserve store new-key"
        )
    return secret
