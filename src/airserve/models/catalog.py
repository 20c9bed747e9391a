"""The catalog: which packages are published, under which versions, and what each alias points at.

A package lies in `store/<address>` and never changes. Publishing copies it beside, makes sure that it is on the disk,
renames it into place, and only then tells the database, in one transaction: whoever is killed in between leaves the
catalog as it was.
"""

from __future__ import annotations

import fcntl
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from airserve.core.errors import BadPackageError, ConflictError, NotFoundError
from airserve.engines import Source
from airserve.engines.options import IDENTITY, Sealed, SealedSource
from airserve.models.aliases import RUNNING, point, pointed_at, require_version, running_rollout
from airserve.models.manifest import FILE_NAME as MANIFEST_NAME
from airserve.models.manifest import Manifest, parse_manifest
from airserve.models.names import check_name
from airserve.models.onnx_admission import admit
from airserve.models.package import Package, open_package
from airserve.models.policy import StorePolicy
from airserve.models.published_source import as_folder
from airserve.models.signature import check_signature, package_signature, signed_parts
from airserve.models.store import Store
from airserve.models.stored_package import StoredPackage
from airserve.storage import Database, tables
from airserve.storage.audit_log import record

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
    files: StoredPackage | None = None

    @property
    def source(self) -> Source:
        """What an engine needs to load the first variant; those that are served are `LoadedVariants`.

        Raises `UnsignedModelError` and `BadPackageError` for a package that the store's policy does not trust.
        """
        manifest = self.manifest
        # What was signed is in the package; what is served is what the database says of it.
        if (
            self.files is not None
            and self.files.require_trust() is not None
            and parse_manifest(self.files.read(MANIFEST_NAME)) != manifest
        ):
            raise BadPackageError("the database describes this model otherwise than its signed package does")
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
            sealed=self._sealed,
            tail=manifest.split is not None,
            model=self.model,
            files=self.files,
        )

    @property
    def _sealed(self) -> SealedSource | None:
        if self.manifest.sealed is None:
            return None
        # The store lies in the state folder, as the service's identity does.
        identity = self.folder.parent.parent / IDENTITY
        return SealedSource(self.manifest.sealed, self.version, self.address, identity)


class Catalog:
    """The published models of one state folder."""

    def __init__(self, database: Database, store: Path, policy: StorePolicy | None = None) -> None:
        self._database = database
        self.store = Store(store, policy or StorePolicy())

    def publish(
        self,
        path: Path,
        *,
        name: str | None = None,
        alias: str | None = DEFAULT_ALIAS,
        max_batch: int | None = None,
        default_deadline_ms: int | None = None,
        sealed: Sealed | None = None,
        sign_with: Ed25519PrivateKey | None = None,
        actor: str | None = None,
    ) -> PublishedVersion:
        """Publish a package folder, `.tar.zst`, bare `.onnx` or `.gguf`, and point `alias` at it (None: at nothing).

        The same content again is the version that it was. What is given beside the path goes into the manifest,
        `sealed` unless the package has such a section already; `sign_with` signs what is stored. An ONNX graph is tried
        first, in a process of its own. Raises `BadPackageError`, or `UnsignedModelError` where the store's policy wants
        a signature, and leaves nothing behind, for what cannot be published.
        """
        if alias is not None:
            check_name(alias, "alias")
        changes = {
            "name": name,
            "max_batch": max_batch,
            "default_deadline_ms": default_deadline_ms,
            "sealed": sealed,
        }
        given = {field: value for field, value in changes.items() if value is not None}
        policy = self.store.policy
        with self.publishing() as scratch, as_folder(path, scratch, given, policy.limits) as folder:
            package = open_package(folder)
            if package.manifest.engine == "onnx":
                split = package.manifest.split
                files = [variant.file for variant in package.manifest.variants if variant.cascade is None]
                for file in {*files, *(() if split is None else (split.head,))}:
                    admit(package.path(file), policy.limits)
            signature = package_signature(package, sign_with)
            if policy.require_signed:
                check_signature(signature, *signed_parts(package), policy.trusted)
            self.store.put(package, scratch, signature)
            return self._enter(package, alias, actor)

    def list(self) -> Sequence[VersionInfo]:
        """Every version of every model, by name and version."""
        return self._infos()

    def show(self, model: str) -> Sequence[VersionInfo]:
        """Every version of `model`. Raises `NotFoundError`."""
        infos = self._infos(model)
        if not infos:
            raise _no_model(model)
        return infos

    def set_alias(self, model: str, alias: str, version: int, *, actor: str | None = None) -> None:
        """Point `alias` at `version`; a running service switches without a failed call."""
        check_name(alias, "alias")
        with self._database.write() as connection:
            require_version(connection, model, version)
            point(connection, model, alias, version, "model.alias", actor)

    def rollback(self, model: str, alias: str = DEFAULT_ALIAS, *, actor: str | None = None) -> int:
        """Point `alias` at the version that it pointed at before the present one; returns that version."""
        with self._database.write() as connection:
            current = pointed_at(connection, model, alias)
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
            point(connection, model, alias, former, "model.rollback", actor)
            return int(former)

    def retire(self, model: str, version: int, *, actor: str | None = None) -> None:
        """Take a version out of use for good; one that an alias points at is refused."""
        with self._database.write() as connection:
            require_version(connection, model, version)
            pointing = connection.execute(
                sa.select(_aliases.alias).where(_aliases.model == model, _aliases.version == version)
            ).scalars()
            if names := ", ".join(pointing):
                raise ConflictError(f"version {version} of '{model}' is what {names} points at; move the alias first")
            running = running_rollout(connection, model)
            if running is not None and version == running.to_version:
                raise ConflictError(f"version {version} of '{model}' is being rolled out; stop that first")
            now_ns = time.time_ns()
            connection.execute(
                tables.versions.update()
                .where(_versions.model == model, _versions.version == version)
                .values(retired_ns=now_ns)
            )
            record(
                connection, actor=actor, action="model.retire", object_id=f"{model}/{version}",
                after={"retired_ns": now_ns}, now_ns=now_ns,
            )  # fmt: skip

    def verify(self, model: str | None = None) -> dict[tuple[str, int], str | None]:
        """Read every stored file again: for each version None if it is whole, else what is wrong."""
        result: dict[tuple[str, int], str | None] = {}
        for info in self._infos(model):
            result[info.model, info.version] = self.store.open(info.address).problem()
        if model is not None and not result:
            raise _no_model(model)
        return result

    def deployments(self) -> Sequence[DeploymentSpec]:
        """What a server must have loaded: each version that an alias points at, or is being rolled out to."""
        rollouts = tables.rollouts.c
        with self._database.read() as connection:
            candidates = {
                (row.model, row.to_version)
                for row in connection.execute(
                    sa.select(rollouts.model, rollouts.to_version).where(rollouts.state.in_(RUNNING))
                )
            }
        return [
            DeploymentSpec(info.model, info.version, info.address, stored.root, info.manifest, info.aliases, stored)
            for info in self._infos()
            if info.aliases or (info.model, info.version) in candidates
            for stored in [self.store.open(info.address)]
        ]

    @contextmanager
    def publishing(self) -> Iterator[Path]:
        """A scratch folder inside the store, for one publisher at a time; what a killed one left is swept."""
        with (self.store.folder / "publish.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for leftover in self.store.folder.glob("staging-*"):
                shutil.rmtree(leftover, ignore_errors=True)
            scratch = Path(tempfile.mkdtemp(prefix="staging-", dir=self.store.folder))
            try:
                yield scratch
            finally:
                shutil.rmtree(scratch, ignore_errors=True)

    def _enter(self, package: Package, alias: str | None, actor: str | None) -> PublishedVersion:
        manifest, now_ns = package.manifest, time.time_ns()
        model = manifest.name
        with self._database.write() as connection:
            version = connection.execute(
                sa.select(_versions.version).where(_versions.model == model, _versions.address == package.address)
            ).scalar()
            if version is None:
                version = self._new_version(connection, package, now_ns)
                published = {"address": package.address, "engine": manifest.engine, "size_bytes": package.size_bytes}
                record(
                    connection, actor=actor, action="model.publish", object_id=f"{model}/{version}", after=published,
                    now_ns=now_ns,
                )  # fmt: skip
            require_version(connection, model, version)
            if alias is not None:
                point(connection, model, alias, version, "model.alias", actor)
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


def _no_model(model: str) -> NotFoundError:
    return NotFoundError(f"no model '{model}'; see airserve models list")
