from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa
import zstandard
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from airserve.accounts import load_directory
from airserve.core.errors import ConflictError, InvalidInputError
from airserve.metering.ledger import fold
from airserve.metering.prices import set_price
from airserve.server.backup import restore_backup, write_backup
from airserve.server.installation import journal_folder, load_pepper, open_database
from airserve.server.settings import Settings, load_settings
from airserve.storage import Database, tables
from tests.postgres import Postgres
from tests.storage.filled import amounts, everything, fill, record

WEIGHTS = bytes(range(256)) * 4_000


@dataclass
class Installation:
    settings: Settings
    database: Database

    @property
    def tenant_id(self) -> str:
        with self.database.read() as connection:
            return str(connection.scalar(sa.select(tables.tenants.c.id)))


@pytest.fixture
def used(tmp_path: Path, database_url: str | None) -> Iterator[Installation]:
    """An installation with customers, folded calls, calls that only the journal knows, and a package."""
    settings = load_settings(tmp_path / "used", database_url=database_url)
    database = open_database(settings)
    load_pepper(settings, database)
    fill(database, journal_folder(settings))
    package = settings.state_dir / "store" / "ab"
    package.mkdir(parents=True)
    (package / "model.onnx").write_bytes(WEIGHTS)
    installation = Installation(settings, database)
    yield installation
    database.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def new(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Settings]:
    """Where to restore into: a new state folder, and a new database."""
    if request.param == "sqlite":
        yield load_settings(tmp_path / "new")
        return
    server: Postgres = request.getfixturevalue("postgres_server")
    with server.database("template0") as url:
        yield load_settings(tmp_path / "new", database_url=url)


def test_what_was_backed_up_is_restored_and_refolded_to_the_same_totals(
    used: Installation, new: Settings, tmp_path: Path
) -> None:
    record(journal_folder(used.settings), used.tenant_id, 12)
    with used.database.read() as connection:
        before = everything(connection)
    target = tmp_path / "backup"
    manifest = write_backup(used.settings, used.database, target)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert manifest.rows["usage_events"] == 30
    restore_backup(new, target)
    restored = open_database(new)
    with restored.read() as connection:
        assert everything(connection) == before
        assert compare_metadata(MigrationContext.configure(connection), tables.metadata) == []
    assert fold(restored, journal_folder(new)).inserted == 12
    assert fold(used.database, journal_folder(used.settings)).inserted == 12
    assert amounts(restored) == amounts(used.database)
    assert fold(restored, journal_folder(new)).inserted == 0
    package = "store/ab/model.onnx"
    assert (new.state_dir / package).read_bytes() == (used.settings.state_dir / package).read_bytes()
    # The restored installation goes on: the pepper fits the keys, numbers go on, and what only grows still only grows.
    assert load_directory(restored, load_pepper(new, restored))
    assert set_price(restored, "digits", per_call_nano=8, per_compute_second_nano=0, now_ns=9).id > 1
    with pytest.raises(sa.exc.IntegrityError, match="append-only"), restored.write() as connection:
        connection.execute(sa.delete(tables.usage_events))
    restored.close()


def test_calls_that_come_while_the_backup_is_made_are_in_it_or_not_but_never_half(
    used: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows are older than the journal: whatever was folded in between is folded again, once."""
    from airserve.server import backup

    dump = backup._dump

    def dump_and_go_on(database: Database, folder: Path) -> dict[str, int]:
        rows = dump(database, folder)
        record(journal_folder(used.settings), used.tenant_id, 5)
        fold(database, journal_folder(used.settings))
        return rows

    monkeypatch.setattr(backup, "_dump", dump_and_go_on)
    write_backup(used.settings, used.database, tmp_path / "backup")
    new = load_settings(tmp_path / "new")
    restore_backup(new, tmp_path / "backup")
    restored = open_database(new)
    assert fold(restored, journal_folder(new)).inserted == 5
    assert amounts(restored) == amounts(used.database)
    restored.close()


def test_shared_packages_and_a_shared_pepper_are_taken_along(tmp_path: Path) -> None:
    settings = load_settings(tmp_path / "a", store_dir=tmp_path / "packages", pepper_file=tmp_path / "secret")
    database = open_database(settings)
    pepper = load_pepper(settings, database)
    (tmp_path / "packages" / "ab").mkdir(parents=True)
    (tmp_path / "packages" / "ab" / "model.onnx").write_bytes(b"weights")
    (settings.state_dir / "settings.toml").write_text("queue_capacity = 5\nstore_dir = '../packages'\n")
    write_backup(settings, database, tmp_path / "backup")
    database.close()
    new = load_settings(tmp_path / "new" / "b", store_dir=tmp_path / "others", pepper_file=tmp_path / "other secret")
    restore_backup(new, tmp_path / "backup")
    assert (tmp_path / "other secret").read_bytes() == pepper
    assert (tmp_path / "others" / "ab" / "model.onnx").read_bytes() == b"weights"
    # Settings that name places of the former machine are not in force on the new one.
    assert sorted(path.name for path in new.state_dir.glob("settings*")) == ["settings.toml.backup"]


def test_a_backup_that_is_not_whole_is_refused_and_leaves_nothing(used: Installation, tmp_path: Path) -> None:
    target = tmp_path / "backup"
    write_backup(used.settings, used.database, target)
    whole = target.read_bytes()
    new = load_settings(tmp_path / "new")
    for content in (
        b"",
        b"no backup",
        whole[:100],
        whole[:-1000],
        whole[: len(whole) // 2],
        _flipped(whole),
        _edited(whole),
    ):
        target.write_bytes(content)
        with pytest.raises(InvalidInputError, match="backup"):
            restore_backup(new, target)
        assert not new.state_dir.exists()
        assert not list(tmp_path.glob(".new-*"))
    target.write_bytes(whole)
    restore_backup(new, target)


def _edited(data: bytes) -> bytes:
    """Somebody has unpacked it, changed a byte of the weights, and packed it again."""
    archive = zstandard.ZstdDecompressor().stream_reader(data).read()
    assert archive.count(WEIGHTS) == 1
    return zstandard.ZstdCompressor().compress(archive.replace(WEIGHTS, b"x" + WEIGHTS[1:]))


def _flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def test_nothing_that_exists_is_written_over(
    used: Installation, tmp_path: Path, postgres_url: str, new: Settings
) -> None:
    target = tmp_path / "backup"
    write_backup(used.settings, used.database, target)
    with pytest.raises(ConflictError, match="exists"):
        write_backup(used.settings, used.database, target)
    with pytest.raises(ConflictError, match="not empty"):
        restore_backup(used.settings, target)
    with pytest.raises(ConflictError, match="not empty"):
        restore_backup(load_settings(tmp_path / "third", database_url=postgres_url), target)
    other_pepper = tmp_path / "other"
    other_pepper.write_bytes(b"q" * 32)
    with pytest.raises(ConflictError, match="another pepper"):
        restore_backup(new.model_copy(update={"pepper_file": other_pepper}), target)
    assert not new.state_dir.exists()
