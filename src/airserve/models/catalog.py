"""The catalog: which packages are published, under which versions, and what each alias points at.

A package lies in `store/<address>` and never changes. Publishing copies it beside, makes sure that it is on the disk,
renames it into place, and only then tells the database, in one transaction: whoever is killed in between leaves the
catalog as it was.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa

from airserve.core.errors import AirserveError, BadPackageError, ConflictError, NotFoundError
from airserve.engines import Source
from airserve.models.gguf_import import DEFAULT_DEADLINE_MS, package_gguf
from airserve.models.manifest import FILE_NAME as MANIFEST_NAME
from airserve.models.manifest import Manifest
from airserve.models.names import check_name, name_of
from airserve.models.onnx_import import package_onnx
from airserve.models.package import SUMS_NAME, Package, open_package, unpacked, write_package
from airserve.models.python_package import is_python_source, package_python
from airserve.storage import Database, tables

DEFAULT_ALIAS = "prod"
_versions, _aliases, _changes = tables.versions.c, tables.aliases.c, tables.alias_changes.c


@dataclass(frozen=True, slots=True)
class PublishedVersion:
    """What publishing gave: `version` of `model`, and the alias that now points at it (None: none was moved)."""

    model: str
    version: int
    address: str
    alias: str | None


@dataclass(frozen=True, slots=True)
class VersionInfo:
    """One version in the catalog; times are UTC nanoseconds."""

    model: str
    version: int
    address: str
    engine: str
    size_bytes: int
    published_ns: int
    retired_ns: int | None
    aliases: tuple[str, ...]
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class DeploymentSpec:
    """One version that a server must have loaded, because these aliases point at it."""

    model: str
    version: int
    address: str
    folder: Path
    manifest: Manifest
    aliases: tuple[str, ...]

    @property
    def source(self) -> Source:
        """What an engine needs to load it."""
        manifest = self.manifest
        return Source(
            folder=self.folder,
            file=manifest.variants[0].file if manifest.variants else "",
            signature=manifest.signature,
            labels=manifest.labels,
            vision=manifest.vision,
            text=manifest.text,
            language=manifest.language,
            upstream=manifest.upstream,
            python=manifest.python,
            model=self.model,
        )


class Catalog:
    """The published models of one state folder."""

    def __init__(self, database: Database, store: Path) -> None:
        self._database = database
        self._store = store
        store.mkdir(mode=0o700, parents=True, exist_ok=True)

    def publish(
        self,
        path: Path,
        *,
        name: str | None = None,
        alias: str | None = DEFAULT_ALIAS,
        max_batch: int | None = None,
        default_deadline_ms: int | None = None,
    ) -> PublishedVersion:
        """Publish a package folder, `.tar.zst`, bare `.onnx` or `.gguf`, and point `alias` at it (None: at nothing).

        The same content again is the version that it was. What is given beside the path goes into the manifest.
        Raises `BadPackageError`, and leaves nothing behind, for what cannot be published.
        """
        if alias is not None:
            check_name(alias, "alias")
        changes = {"name": name, "max_batch": max_batch, "default_deadline_ms": default_deadline_ms}
        given = {field: value for field, value in changes.items() if value is not None}
        with self._publishing() as scratch, _as_folder(path, scratch, given) as folder:
            package = open_package(folder)
            self._store_package(package, scratch)
            return self._enter(package, alias)

    def list(self) -> Sequence[VersionInfo]:
        """Every version of every model, by name and version."""
        return self._infos()

    def show(self, model: str) -> Sequence[VersionInfo]:
        """Every version of `model`. Raises `NotFoundError`."""
        infos = self._infos(model)
        if not infos:
            raise _no_model(model)
        return infos

    def set_alias(self, model: str, alias: str, version: int) -> None:
        """Point `alias` at `version`; a running service switches without a failed call."""
        check_name(alias, "alias")
        with self._database.write() as connection:
            _require(connection, model, version)
            _point(connection, model, alias, version)

    def rollback(self, model: str, alias: str = DEFAULT_ALIAS) -> int:
        """Point `alias` at the version that it pointed at before the present one; returns that version."""
        with self._database.write() as connection:
            current = connection.execute(
                sa.select(_aliases.version).where(_aliases.model == model, _aliases.alias == alias)
            ).scalar()
            if current is None:
                raise NotFoundError(f"model '{model}' has no alias '{alias}'")
            former = connection.execute(
                sa.select(_changes.version)
                .join(
                    tables.versions, sa.and_(_versions.model == _changes.model, _versions.version == _changes.version)
                )
                .where(_changes.model == model, _changes.alias == alias, _changes.version != current)
                .where(_versions.retired_ns.is_(None))
                .order_by(_changes.id.desc())
            ).scalar()
            if former is None:
                raise ConflictError(f"'{alias}' of model '{model}' never pointed at another version that still exists")
            _point(connection, model, alias, former)
            return int(former)

    def retire(self, model: str, version: int) -> None:
        """Take a version out of use for good; one that an alias points at is refused."""
        with self._database.write() as connection:
            _require(connection, model, version)
            pointing = connection.execute(
                sa.select(_aliases.alias).where(_aliases.model == model, _aliases.version == version)
            ).scalars()
            if names := ", ".join(pointing):
                raise ConflictError(f"version {version} of '{model}' is what {names} points at; move the alias first")
            connection.execute(
                tables.versions.update()
                .where(_versions.model == model, _versions.version == version)
                .values(retired_ns=time.time_ns())
            )

    def verify(self, model: str | None = None) -> dict[tuple[str, int], str | None]:
        """Read every stored file again: for each version None if it is whole, else what is wrong."""
        result: dict[tuple[str, int], str | None] = {}
        for info in self._infos(model):
            try:
                found = open_package(self._store / info.address).address
                result[info.model, info.version] = None if found == info.address else "stored under a wrong address"
            except AirserveError as error:
                result[info.model, info.version] = error.message
        if model is not None and not result:
            raise _no_model(model)
        return result

    def deployments(self) -> Sequence[DeploymentSpec]:
        """What a server must have loaded: each version that an alias points at."""
        return [
            DeploymentSpec(
                info.model, info.version, info.address, self._store / info.address, info.manifest, info.aliases
            )
            for info in self._infos()
            if info.aliases
        ]

    @contextmanager
    def _publishing(self) -> Iterator[Path]:
        """A scratch folder inside the store, for one publisher at a time; what a killed one left is swept."""
        with (self._store / "publish.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for leftover in self._store.glob("staging-*"):
                shutil.rmtree(leftover, ignore_errors=True)
            scratch = Path(tempfile.mkdtemp(prefix="staging-", dir=self._store))
            try:
                yield scratch
            finally:
                shutil.rmtree(scratch, ignore_errors=True)

    def _store_package(self, package: Package, scratch: Path) -> None:
        target = self._store / package.address
        if target.exists():
            return
        staging = scratch / package.address
        for file in (*package.files, SUMS_NAME):
            (staging / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(package.folder / file, staging / file)
            _sync(staging / file)
        # What was copied is what was verified, or nothing.
        if open_package(staging).address != package.address:
            raise BadPackageError("the package changed while it was read; publish it again")
        _sync(staging)
        staging.replace(target)
        _sync(self._store)

    def _enter(self, package: Package, alias: str | None) -> PublishedVersion:
        manifest, now_ns = package.manifest, time.time_ns()
        model = manifest.name
        with self._database.write() as connection:
            version = connection.execute(
                sa.select(_versions.version).where(_versions.model == model, _versions.address == package.address)
            ).scalar()
            if version is None:
                version = self._new_version(connection, package, now_ns)
            _require(connection, model, version)
            if alias is not None:
                _point(connection, model, alias, version)
        return PublishedVersion(model, version, package.address, alias)

    def _new_version(self, connection: sa.Connection, package: Package, now_ns: int) -> int:
        model = package.manifest.name
        if not connection.execute(sa.select(tables.models).where(tables.models.c.name == model)).first():
            connection.execute(tables.models.insert().values(name=model, created_ns=now_ns))
        newest = connection.execute(sa.select(sa.func.max(_versions.version)).where(_versions.model == model)).scalar()
        version = (newest or 0) + 1
        connection.execute(
            tables.versions.insert().values(
                model=model,
                version=version,
                address=package.address,
                engine=package.manifest.engine,
                size_bytes=package.size_bytes,
                manifest=msgspec.json.encode(package.manifest).decode(),
                published_ns=now_ns,
            )
        )
        return version

    def _infos(self, model: str | None = None) -> Sequence[VersionInfo]:
        query = sa.select(tables.versions).order_by(_versions.model, _versions.version)
        if model is not None:
            query = query.where(_versions.model == model)
        with self._database.read() as connection:
            rows = connection.execute(query).all()
            pointing: dict[tuple[str, int], list[str]] = {}
            for row in connection.execute(sa.select(tables.aliases).order_by(_aliases.alias)):
                pointing.setdefault((row.model, row.version), []).append(row.alias)
        return [
            VersionInfo(
                model=row.model,
                version=row.version,
                address=row.address,
                engine=row.engine,
                size_bytes=row.size_bytes,
                published_ns=row.published_ns,
                retired_ns=row.retired_ns,
                aliases=tuple(pointing.get((row.model, row.version), ())),
                manifest=msgspec.json.decode(row.manifest, type=Manifest),
            )
            for row in rows
        ]


@contextmanager
def _as_folder(path: Path, scratch: Path, changes: dict[str, Any]) -> Iterator[Path]:
    """The package to publish as a folder: made from a bare graph, unpacked, or with its manifest changed."""
    if path.suffix == ".onnx":
        if not path.is_file():
            raise NotFoundError(f"{path} does not exist")
        name = changes.get("name") or name_of(path)
        folder = package_onnx(path, scratch / "made", name=check_name(name), max_batch=changes.get("max_batch"))
        changes = {field: value for field, value in changes.items() if field == "default_deadline_ms"}
        yield _changed(folder, scratch, changes)
        return
    if path.suffix == ".gguf":
        name = check_name(changes.pop("name", None) or name_of(path))
        deadline_ms = changes.pop("default_deadline_ms", DEFAULT_DEADLINE_MS)
        yield _changed(
            package_gguf(path, scratch / "made", name=name, default_deadline_ms=deadline_ms), scratch, changes
        )
        return
    if is_python_source(path):
        name = check_name(changes.get("name") or name_of(path))
        made = package_python(path, scratch / "made", name=name, max_batch=changes.get("max_batch"))
        yield _changed(made, scratch, changes)
        return
    with unpacked(path, scratch) as folder:
        yield _changed(folder, scratch, changes)


def _changed(folder: Path, scratch: Path, changes: dict[str, Any]) -> Path:
    if not changes:
        return folder
    package = open_package(folder)
    manifest = msgspec.structs.replace(package.manifest, **changes)
    files = {file: folder / file for file in package.files if file != MANIFEST_NAME}
    return write_package(scratch / "changed", manifest, files)


def _point(connection: sa.Connection, model: str, alias: str, version: int) -> None:
    now_ns = time.time_ns()
    where = sa.and_(_aliases.model == model, _aliases.alias == alias)
    current = connection.execute(sa.select(_aliases.version).where(where)).scalar()
    if current == version:
        return
    if current is None:
        connection.execute(tables.aliases.insert().values(model=model, alias=alias, version=version, changed_ns=now_ns))
    else:
        connection.execute(tables.aliases.update().where(where).values(version=version, changed_ns=now_ns))
    connection.execute(
        tables.alias_changes.insert().values(model=model, alias=alias, version=version, changed_ns=now_ns)
    )


def _require(connection: sa.Connection, model: str, version: int) -> None:
    """Refuse a version that does not exist or was retired."""
    row = connection.execute(
        sa.select(_versions.retired_ns).where(_versions.model == model, _versions.version == version)
    ).first()
    if row is None:
        raise NotFoundError(f"model '{model}' has no version {version}; see airserve models show {model}")
    if row[0] is not None:
        raise ConflictError(f"version {version} of model '{model}' was retired; publish a new one")


def _no_model(model: str) -> NotFoundError:
    return NotFoundError(f"no model '{model}'; see airserve models list")


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
