"""A backup: one file with all that an installation is, and an installation made of it again.

    database/<table>.jsonl   the rows, from one moment
    state/…                  the state folder: journal, pepper, certificates, credentials, settings
    store/…                  the packages
    backup.json              last: what the others must be, by SHA-256; without it the file is not whole

The rows are read before the journal is copied, so the journal knows everything that they do, and perhaps calls that
came later: these are folded after a restore, once, since the rows say how far the journal was read.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
import tempfile
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec
import zstandard

from airserve.core.errors import ConflictError, DamagedJournalError, InvalidInputError, NotFoundError
from airserve.metering.segments import check_tail, segments_of
from airserve.server.installation import NODE_FILE, journal_folder, store_folder
from airserve.server.settings import SETTINGS_FILE, Settings
from airserve.storage import Database
from airserve.storage.migrate import HEAD
from airserve.storage.sqlite import FILE_NAME
from airserve.storage.table_dump import dump_tables, load_tables

FORMAT = 1
_MANIFEST = "backup.json"
_PEPPER = "pepper"
_COPIES = 3


class Manifest(msgspec.Struct, frozen=True):
    """What a backup holds: rows by table, and the SHA-256 of every file."""

    format: int
    created_ns: int
    revision: str
    dialect: str
    rows: dict[str, int]
    files: dict[str, str]


def write_backup(settings: Settings, database: Database, target: Path) -> Manifest:
    """Write the whole installation to `target`, which appears when it is complete; a service may go on meanwhile.

    It holds secrets, so it is readable to its owner alone.
    """
    if target.exists():
        raise ConflictError(f"{target} exists already; name another file")
    temporary = target.with_name(target.name + ".new")
    files: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix=".backup-", dir=target.parent) as scratch_name:
        scratch = Path(scratch_name)
        rows = _dump(database, scratch / "database")
        _copy_journal(journal_folder(settings), scratch / "journal")
        with _private(temporary) as file:
            compressor = zstandard.ZstdCompressor(level=3, write_checksum=True)
            with (
                compressor.stream_writer(file, closefd=False) as stream,
                tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as tar,
            ):
                for name, path in _contents(settings, scratch, exclude={target, temporary}):
                    _add(tar, name, path, files)
                manifest = Manifest(FORMAT, time.time_ns(), HEAD, database.dialect, rows, files)
                (scratch / _MANIFEST).write_bytes(msgspec.json.encode(manifest))
                _add(tar, _MANIFEST, scratch / _MANIFEST, {})
            os.fsync(file.fileno())
    temporary.replace(target)
    return manifest


def restore_backup(settings: Settings, source: Path) -> Manifest:
    """Make the installation of `settings` out of a backup. Nothing that exists is written over.

    The state folder must be new, but for its `settings.toml`; so must the database. Raises `ConflictError` where they
    are not, and `InvalidInputError` for a file that is no backup, or not whole.
    """
    folder = settings.state_dir
    if folder.exists() and any(path.name != SETTINGS_FILE for path in folder.iterdir()):
        raise ConflictError(f"{folder} is not empty; restore into a new --state-dir, or move this one away")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch_name:
        scratch = Path(scratch_name)
        manifest = _extract(source, scratch)
        state = scratch / "state"
        _place_pepper(settings, state)
        _place_store(settings, scratch / "store")
        _place_settings(settings, state)
        if settings.database_url is None:
            # SQLite knows no other node; what this one recorded under its former name is folded all the same.
            (state / NODE_FILE).unlink(missing_ok=True)
        database = Database.open_as_it_is(state, settings.database_url)
        try:
            with database.change_schema() as connection:
                load_tables(connection, scratch / "database", manifest.revision, manifest.rows)
        finally:
            database.close()
        folder.mkdir(mode=0o700, exist_ok=True)
        for path in state.iterdir():
            path.rename(folder / path.name)
    return manifest


def _dump(database: Database, folder: Path) -> dict[str, int]:
    folder.mkdir()
    with database.read() as connection:
        return dump_tables(connection, folder)


def _copy_journal(journal: Path, folder: Path) -> None:
    """The segments as they are listed now: all but the last of each epoch are complete, and a torn end is none's call.

    An append that fails is cut back, and a copy may have caught both it and its successor; so it is looked at again.
    """
    folder.mkdir()
    for segment in segments_of(journal):
        for attempt in range(1, _COPIES + 1):
            shutil.copyfile(journal / str(segment), folder / str(segment))
            try:
                check_tail(folder, segment)
                break
            except DamagedJournalError:
                if attempt == _COPIES:
                    raise


def _contents(settings: Settings, scratch: Path, exclude: set[Path]) -> Iterator[tuple[str, Path]]:
    store, journal = store_folder(settings), journal_folder(settings)
    for name, folder in (("database", scratch / "database"), ("state/journal", scratch / "journal"), ("store", store)):
        yield from ((f"{name}/{path.relative_to(folder)}", path) for path in _files(folder))
    for path in _files(settings.state_dir):
        if not (path.is_relative_to(store) or path.is_relative_to(journal) or path in exclude):
            yield f"state/{path.relative_to(settings.state_dir)}", path
    if settings.pepper_file is not None:
        yield f"state/{_PEPPER}", settings.pepper_file


def _files(folder: Path) -> Iterator[Path]:
    """Regular files, without what belongs to a process that runs or to the SQLite file."""
    for path in sorted(folder.rglob("*")):
        passing = path.suffix in (".lock", ".new") or any(part.startswith("staging-") for part in path.parts)
        if path.is_file() and not passing and not path.name.startswith(FILE_NAME):
            yield path


def _add(tar: tarfile.TarFile, name: str, path: Path, files: dict[str, str]) -> None:
    with path.open("rb") as file:
        entry = tar.gettarinfo(arcname=name, fileobj=file)
        # As much as there was: what a running service adds meanwhile is not torn off in the middle of the archive.
        reader = _Hashing(file, hashlib.sha256())
        tar.addfile(entry, reader)
    files[name] = reader.hash.hexdigest()


class _Hashing:
    """A file that is hashed while it is read."""

    def __init__(self, file: BinaryIO, hash: hashlib._Hash) -> None:
        self._file = file
        self.hash = hash

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.hash.update(data)
        return data


def _extract(source: Path, folder: Path) -> Manifest:
    if not source.is_file():
        raise NotFoundError(f"{source} does not exist")
    try:
        with (
            source.open("rb") as file,
            zstandard.ZstdDecompressor().stream_reader(file) as stream,
            tarfile.open(fileobj=stream, mode="r|") as tar,
        ):
            tar.extractall(folder, filter="data")
        manifest = msgspec.json.decode((folder / _MANIFEST).read_bytes(), type=Manifest)
    except (OSError, tarfile.TarError, zstandard.ZstdError, msgspec.MsgspecError) as error:
        raise InvalidInputError(f"{source} is no backup, or not whole ({error}); take an earlier one") from error
    if manifest.format != FORMAT or manifest.revision > HEAD:
        raise InvalidInputError(f"{source} was made by a newer Airserve; install that version to restore it")
    for name, expected in manifest.files.items():
        if not (folder / name).is_file() or _sha256(folder / name) != expected:
            raise InvalidInputError(f"{source} is damaged: '{name}' is not what was written; take an earlier backup")
    (folder / "state").mkdir(exist_ok=True)
    return manifest


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _place_pepper(settings: Settings, state: Path) -> None:
    target, pepper = settings.pepper_file, state / _PEPPER
    if target is None or not pepper.exists():
        return
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with _private(target) as file:
            file.write(pepper.read_bytes())
    elif target.read_bytes() != pepper.read_bytes():
        raise ConflictError(f"{target} is another pepper than that of the backup; name another file as pepper_file")
    pepper.unlink()


def _place_store(settings: Settings, store: Path) -> None:
    """Packages are named by their content: those that are there already are the same."""
    if not store.exists():
        return
    if settings.store_dir is None:
        store.rename(store.parent / "state" / "store")
        return
    for package in store.iterdir():
        target = settings.store_dir / package.name
        if not target.exists():
            staging = settings.store_dir / f"staging-{package.name}"
            shutil.rmtree(staging, ignore_errors=True)
            shutil.copytree(package, staging)
            staging.rename(target)


def _place_settings(settings: Settings, state: Path) -> None:
    """The backup's settings are in force again, unless there are others already, or they name places of their own."""
    kept = state / SETTINGS_FILE
    if not kept.exists():
        return
    places = {"database_url", "store_dir", "pepper_file", "node_id"} & tomllib.loads(kept.read_text()).keys()
    if places or (settings.state_dir / SETTINGS_FILE).exists():
        kept.rename(state / f"{SETTINGS_FILE}.backup")


def _private(path: Path) -> BinaryIO:
    """A new file for its owner alone."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")
