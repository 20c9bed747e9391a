"""The store: the folder `store/` with one package in `<address>/`, in plaintext or encrypted, as its policy says."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from airserve.core.errors import AirserveError, BadPackageError, ConflictError, InvalidInputError
from airserve.models.encryption import KEY_BYTES, encrypt
from airserve.models.package import SIGNATURE_NAME, SUMS_NAME, Package
from airserve.models.policy import StorePolicy
from airserve.models.store_key import KeyService
from airserve.models.stored_package import KEY_NAME, SEALED, Envelope, StoredPackage, WrappedKey

_ADDRESS_LENGTH = 64


@dataclass(frozen=True, slots=True)
class StoredInfo:
    """How one package lies in the store; `keys` are the ids of the store keys that open it."""

    address: str
    encrypted: bool
    keys: tuple[str, ...]
    signed: bool


class Store:
    """Packages by their address. Whoever writes holds the lock of the catalog's publishing."""

    def __init__(self, folder: Path, policy: StorePolicy) -> None:
        self.folder = folder
        self.policy = policy
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def open(self, address: str) -> StoredPackage:
        """The package at `address`, read lazily."""
        return StoredPackage(self.folder / address, address, self.policy)

    def put(self, package: Package, scratch: Path, signature: bytes | None) -> None:
        """Take in a verified package, on the disk when this returns; `scratch` is a folder inside the store.

        One that is there and whole stays, with the newer signature; a damaged one is replaced, but nothing that is
        encrypted by plaintext.
        """
        target = self.folder / package.address
        if target.exists():
            problem = self.open(package.address).problem()
            if problem is None:
                if signature is not None:
                    _write_whole(target / SIGNATURE_NAME, signature)
                return
            if self.policy.key is None and self.open(package.address).encrypted:
                # In plaintext it would be whole, and open to all.
                raise BadPackageError(problem)
            target.replace(scratch / "damaged")
        staging = scratch / package.address
        staging.mkdir()
        names = (*package.files, SUMS_NAME)
        if self.policy.key is None:
            for name in names:
                (staging / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(package.folder / name, staging / name)
                _sync(staging / name)
        else:
            self._encrypt(package.folder, names, staging, package.address)
        if signature is not None:
            _write_whole(staging / SIGNATURE_NAME, signature)
        # What was copied is what was verified, or nothing.
        if StoredPackage(staging, package.address, self.policy).problem() is not None:
            raise BadPackageError("the package changed while it was read; publish it again")
        _sync(staging)
        staging.replace(target)
        _sync(self.folder)

    def infos(self) -> Iterator[StoredInfo]:
        """Every package, by address."""
        for folder in sorted(self.folder.iterdir()):
            if len(folder.name) == _ADDRESS_LENGTH and folder.is_dir():
                package = self.open(folder.name)
                keys = tuple(each.id for each in package.envelope().keys) if package.encrypted else ()
                signed = package.signature() is not None
                yield StoredInfo(folder.name, package.encrypted, keys, signed)

    def encrypt_all(self) -> int:
        """Encrypt what lies in plaintext, in place, under the store key; how many packages that were.

        The plaintext is removed once its package is whole in the new form, whenever this was stopped before.
        """
        if self.policy.key is None:
            raise InvalidInputError("no store key is configured; see airserve store new-key --help")
        done = 0
        for info in list(self.infos()):
            package = self.open(info.address)
            if not package.encrypted:
                if (problem := package.problem()) is not None and not _half_encrypted(package.root):
                    raise BadPackageError(f"package {info.address[:12]}: {problem}")
                self._encrypt(package.root, (*package.digests, SUMS_NAME), package.root, info.address)
                package, done = self.open(info.address), done + 1
            if (problem := package.problem()) is not None:
                raise BadPackageError(f"package {info.address[:12]}: {problem}")
            for name in (*package.digests, SUMS_NAME):
                (package.root / name).unlink(missing_ok=True)
        return done

    def rewrap(self, new: KeyService) -> int:
        """Wrap the data key of every encrypted package for `new` too; chunks stay as they are. How many that were."""
        done = 0
        for info in list(self.infos()):
            if not info.encrypted or new.id in info.keys:
                continue
            package = self.open(info.address)
            wrapped = WrappedKey(new.id, new.wrap(package.data_key()))
            _write_envelope(package.root, Envelope.of((*package.envelope().keys, wrapped)))
            done += 1
        return done

    def drop_key(self, key_id: str) -> int:
        """Forget what `key_id` wrapped, so that it opens nothing any more. How many packages that were.

        Raises `ConflictError`, and changes nothing, where a package would be left without a key.
        """
        infos = [info for info in self.infos() if key_id in info.keys]
        if lonely := [info for info in infos if info.keys == (key_id,)]:
            raise ConflictError(
                f"{len(lonely)} packages open with the key {key_id} alone; rotate to another key first "
                "(airserve store rotate-key)"
            )
        for info in infos:
            package = self.open(info.address)
            kept = tuple(each for each in package.envelope().keys if each.id != key_id)
            _write_envelope(package.root, Envelope.of(kept))
        return len(infos)

    def _encrypt(self, source: Path, names: tuple[str, ...], target: Path, address: str) -> None:
        service = self.policy.key
        assert service is not None, "asked for where there is one"  # noqa: S101
        key = os.urandom(KEY_BYTES)
        for name in names:
            file = target / (name + SEALED)
            file.parent.mkdir(parents=True, exist_ok=True)
            with (source / name).open("rb") as plain, file.open("wb") as sealed:
                encrypt(plain, sealed, key, address=address, name=name)
                sealed.flush()
                os.fsync(sealed.fileno())
        # Last: with this file the package counts as encrypted.
        _write_envelope(target, Envelope.of((WrappedKey(service.id, service.wrap(key)),)))


def _half_encrypted(root: Path) -> bool:
    return any(root.rglob("*" + SEALED))


def _write_envelope(root: Path, envelope: Envelope) -> None:
    _write_whole(root / KEY_NAME, msgspec.json.format(msgspec.json.encode(envelope), indent=2) + b"\n")


def _write_whole(file: Path, content: bytes) -> None:
    """Appears whole and stays, whatever stops this process."""
    temporary = file.with_name(f".{file.name}.new")
    try:
        with temporary.open("wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(file)
    except OSError as error:
        raise AirserveError(f"{file.name} cannot be written to the store: {error.strerror}") from None
    _sync(file.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
