"""A package in the store, as engines read it: every file held against the package's address, decrypted to memory.

<address>/SHA256SUMS, airserve.toml, model.onnx …        in plaintext, or
<address>/KEY.json, SHA256SUMS.sealed, model.onnx.sealed …    encrypted, the data key wrapped in KEY.json
<address>/airserve.sig.json                                the signature, in plaintext either way
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path

import msgspec

from airserve.core.errors import BadPackageError, NotFoundError
from airserve.engines.files import Folder
from airserve.models.encryption import KEY_BYTES, decrypted
from airserve.models.manifest import FILE_NAME
from airserve.models.package import SIGNATURE_NAME, SUMS_NAME, open_package, parse_sums
from airserve.models.policy import StorePolicy
from airserve.models.signature import check_signature

KEY_NAME = "KEY.json"
SEALED = ".sealed"
_FORMAT = "airserve-encrypted-1"
_CHUNK = 1 << 20
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


class WrappedKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The package's data key under one store key, `id`."""

    id: str
    wrapped: str


class Envelope(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`KEY.json`: the data key, wrapped once for each store key that opens the package."""

    format: str
    keys: tuple[WrappedKey, ...]

    @classmethod
    def of(cls, keys: tuple[WrappedKey, ...]) -> Envelope:
        """Of the present format."""
        return cls(_FORMAT, keys)


class StoredPackage:
    """The files of the package at `address`, below `root`. Implements `engines.files.Files`."""

    def __init__(self, root: Path, address: str, policy: StorePolicy) -> None:
        self.root = root
        self.address = address
        self._policy = policy

    @property
    def encrypted(self) -> bool:
        """Whether it lies encrypted."""
        return (self.root / KEY_NAME).exists()

    def envelope(self) -> Envelope:
        """What `KEY.json` says. Raises `BadPackageError`."""
        try:
            envelope = msgspec.json.decode((self.root / KEY_NAME).read_bytes(), type=Envelope)
        except (OSError, msgspec.MsgspecError):
            raise BadPackageError(f"{KEY_NAME} of package {self.address[:12]} is damaged; restore it") from None
        if envelope.format != _FORMAT:
            raise BadPackageError(f"package {self.address[:12]} is encrypted in a format that is not known here")
        return envelope

    def data_key(self) -> bytes:
        """The package's own key, unwrapped. Raises `BadPackageError` without the store key that wrapped it."""
        service, envelope = self._policy.key, self.envelope()
        ids = ", ".join(each.id for each in envelope.keys)
        if service is None:
            raise BadPackageError(
                f"package {self.address[:12]} is encrypted under the store key {ids}; set store_key_file, "
                "AIRSERVE_STORE_KEY or kms_command"
            )
        wrapped = next((each.wrapped for each in envelope.keys if each.id == service.id), None)
        if wrapped is None:
            raise BadPackageError(
                f"package {self.address[:12]} is encrypted under the store key {ids}, and the key here is {service.id}"
            )
        key = service.unwrap(wrapped)
        if len(key) != KEY_BYTES:
            raise BadPackageError(f"{KEY_NAME} of package {self.address[:12]} is damaged; restore it")
        return key

    @cached_property
    def _key(self) -> bytes | None:
        return self.data_key() if self.encrypted else None

    @cached_property
    def sums(self) -> bytes:
        """SHA256SUMS, which the address is the digest of."""
        sums = b"".join(self._chunks(SUMS_NAME))
        if hashlib.sha256(sums).hexdigest() != self.address:
            raise BadPackageError(f"{SUMS_NAME} of package {self.address[:12]} was changed; publish the model again")
        return sums

    @cached_property
    def digests(self) -> dict[str, str]:
        """The SHA-256 of each file."""
        return parse_sums(self.sums)

    def require_trust(self) -> str | None:
        """Who signed it; None where that is not asked. Raises `UnsignedModelError` and `BadPackageError`."""
        if not self._policy.require_signed:
            return None
        return check_signature(self.signature(), self.sums, self.read(FILE_NAME), self._policy.trusted)

    def signature(self) -> bytes | None:
        """The signature file."""
        file = self.root / SIGNATURE_NAME
        return file.read_bytes() if file.is_file() else None

    def read(self, name: str) -> bytes:
        """The bytes of a file, which were held against its checksum."""
        return b"".join(self._verified(name))

    @contextmanager
    def opened(self, name: str) -> Iterator[Path]:
        """The file itself once its checksum was seen to be right, or anonymous memory with its content."""
        if self.encrypted:
            descriptor = self._in_memory(name)
            try:
                yield Path(f"/proc/self/fd/{descriptor}")
            finally:
                os.close(descriptor)
        else:
            for _ in self._verified(name):
                pass
            yield self.root / name

    @contextmanager
    def folder(self) -> Iterator[Folder]:
        """The package's folder; where it is encrypted, one of links to anonymous memory."""
        if not self.encrypted:
            problem = self.problem()
            if problem is not None:
                raise BadPackageError(problem)
            yield Folder(self.root)
            return
        with ExitStack() as stack:
            place = Path(tempfile.mkdtemp(prefix="airserve-"))
            stack.callback(shutil.rmtree, place, ignore_errors=True)
            descriptors = []
            for name in self.digests:
                descriptor = self._in_memory(name)
                stack.callback(os.close, descriptor)
                descriptors.append(descriptor)
                (place / name).parent.mkdir(parents=True, exist_ok=True)
                # Each process finds its own descriptor behind the link, which it has inherited under this number.
                (place / name).symlink_to(f"/proc/self/fd/{descriptor}")
            yield Folder(place, tuple(descriptors))

    def problem(self) -> str | None:
        """Read every file: None if the package is whole, else what is wrong."""
        try:
            if not self.root.is_dir():
                return f"package {self.address[:12]} is not in the store; publish the model again"
            if self.encrypted:
                for name in self.digests:
                    for _ in self._verified(name):
                        pass
                return None
            return None if open_package(self.root).address == self.address else "stored under a wrong address"
        except (BadPackageError, NotFoundError) as error:
            return error.message

    def _in_memory(self, name: str) -> int:
        """A descriptor of sealed anonymous memory with the file's content; the caller closes it."""
        descriptor = os.memfd_create(f"airserve:{Path(name).name}"[:200], os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            with open(descriptor, "wb", closefd=False) as memory:
                for chunk in self._verified(name):
                    memory.write(chunk)
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _verified(self, name: str) -> Iterator[bytes]:
        """The file in pieces. The last comes only when the whole was seen to be right."""
        wanted = self.digests.get(name)
        if wanted is None:
            raise NotFoundError(f"the package has no file '{name}'; it has {', '.join(self.digests)}"[:500])
        digest = hashlib.sha256()
        held = b""
        for chunk in self._chunks(name):
            digest.update(chunk)
            if held:
                yield held
            held = chunk
        if digest.hexdigest() != wanted:
            raise BadPackageError(f"{name} does not match its checksum: damaged or changed; publish the model again")
        yield held

    def _chunks(self, name: str) -> Iterator[bytes]:
        try:
            if self._key is not None:
                with (self.root / (name + SEALED)).open("rb") as file:
                    yield from decrypted(file, self._key, address=self.address, name=name)
                return
            with (self.root / name).open("rb") as file:
                while chunk := file.read(_CHUNK):
                    yield chunk
        except OSError as error:
            raise BadPackageError(f"{name} of package {self.address[:12]} cannot be read: {error.strerror}") from None
