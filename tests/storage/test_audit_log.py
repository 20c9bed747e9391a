from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airserve.core.errors import DamagedLogError
from airserve.storage import Database, tables
from airserve.storage.audit_checkpoints import Checkpoint, Signer, checkpoints, sign_newest, verify_log
from airserve.storage.audit_export import verify_database
from airserve.storage.audit_log import GENESIS, LogRow, chained_hash, newest_rows, record, rows


def fill(database: Database, count: int, start: int = 0) -> list[LogRow]:
    with database.write() as connection:
        return [
            record(
                connection, actor="operator:ada", action="tenant.create", object_id=f"ten_{number}",
                tenant_id=f"ten_{number % 2}", before=None if number % 2 else {"name": "x"},
                after={"name": f"Größe {number}", "n": number}, now_ns=100 + number,
            )
            for number in range(start, start + count)
        ]  # fmt: skip


def test_a_row_is_chained_as_the_documentation_says(database: Database) -> None:
    first, second = fill(database, 2)
    # Anybody can compute it, without a line of ours.
    for row, previous in ((first, "0" * 64), (second, first.hash)):
        fields = [row.seq, row.at_ns, row.actor, row.action, row.object_id, row.tenant_id, row.before, row.after]
        text = f"{previous}\n{json.dumps(fields, ensure_ascii=False, separators=(',', ':'))}"
        assert row.hash == hashlib.sha256(text.encode()).hexdigest()
        assert row.previous_hash == previous
    with database.read() as connection:
        assert list(rows(connection)) == [first, second]
        assert list(rows(connection, tenant_id="ten_1")) == [second]
    assert newest_rows(database, 1) == [second]
    assert newest_rows(database, 5, "ten_0") == [first]


def test_a_row_is_there_exactly_when_its_change_is(database: Database) -> None:
    with pytest.raises(RuntimeError), database.write() as connection:
        record(connection, actor=None, action="a", object_id="b", now_ns=1)
        raise RuntimeError
    assert newest_rows(database, 5) == []


def test_rows_and_checkpoints_cannot_be_changed_through_the_database(database: Database, tmp_path: Path) -> None:
    fill(database, 2)
    sign_newest(database, tmp_path, now_ns=1)
    for table in (tables.audit_log, tables.audit_checkpoints):
        for change in (table.update().values(seq=7), table.delete()):
            with pytest.raises(sa.exc.DBAPIError, match="append-only"), database.write() as connection:
                connection.execute(change)


def log_of(count: int, start: LogRow | None = None) -> list[LogRow]:
    made: list[LogRow] = []
    for _ in range(count):
        last = made[-1] if made else start
        seq, previous = (last.seq + 1, last.hash) if last else (1, GENESIS)
        fields = (seq, seq, "operator:ada", "key.revoke", f"key{seq}", None, None, '{"n":1}')
        made.append(LogRow(*fields, previous, chained_hash(previous, fields)))
    return made


@st.composite
def tampered(draw: st.DrawFn) -> tuple[list[LogRow], list[LogRow]]:
    """A whole log, and what somebody made of it who can compute hashes, but not sign."""
    log = log_of(draw(st.integers(2, 9)))
    place = draw(st.integers(0, len(log) - 1))
    kind = draw(st.sampled_from(["change", "remove", "insert", "reorder", "truncate", "rehash"]))
    if kind == "change":
        column, value = draw(
            st.sampled_from(
                [("actor", "operator:eve"), ("at_ns", 7_000), ("action", "key.create"), ("object_id", "another"),
                 ("tenant_id", "ten_b"), ("before", "{}"), ("after", None), ("hash", "0" * 64), ("seq", 99)]
            )
        )  # fmt: skip
        changes: dict[str, Any] = {column: value}
        return log, [*log[:place], replace(log[place], **changes), *log[place + 1 :]]
    if kind == "remove":
        return log, [*log[:place], *log[place + 1 :]]
    if kind == "insert":
        return log, [*log[:place], replace(log[place], object_id="another"), *log[place:]]
    if kind == "reorder":
        other = draw(st.integers(0, len(log) - 1).filter(lambda number: number != place))
        changed = list(log)
        changed[place], changed[other] = log[other], log[place]
        return log, changed
    if kind == "truncate":
        return log, log[:place]
    # Everything from one row on is written anew, with hashes that fit.
    kept = log[:place]
    fields = (place + 1, 1, "operator:eve", "key.create", "another", None, None, None)
    previous = kept[-1].hash if kept else GENESIS
    forged = [*kept, LogRow(*fields, previous, chained_hash(previous, fields))]
    return log, [*forged, *log_of(len(log) - place - 1, forged[-1])]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tampered())
def test_a_row_that_was_changed_removed_inserted_moved_or_cut_off_is_detected(
    tmp_path: Path, logs: tuple[list[LogRow], list[LogRow]]
) -> None:
    log, changed = logs
    signer = Signer(tmp_path)
    signed = signer.sign(log[-1].seq, log[-1].hash, 5)
    assert verify_log(log, [signed], [signer.public_key]).signed_seq == len(log)
    with pytest.raises(DamagedLogError):
        verify_log(changed, [signed], [signer.public_key])


def test_what_came_after_the_last_checkpoint_is_told_apart(database: Database, tmp_path: Path) -> None:
    fill(database, 3)
    assert sign_newest(database, tmp_path, now_ns=1)
    assert sign_newest(database, tmp_path, now_ns=2) is None
    fill(database, 2, start=3)
    verdict = verify_database(database, tmp_path)
    assert (verdict.rows, verdict.signed_seq, verdict.signed_ns) == (5, 3, 1)


def without_triggers(database: Database, *statements: str) -> None:
    """What somebody does who has the database itself in their hands."""
    with database.write() as connection:
        if database.dialect == "sqlite":
            for table in ("audit_log", "audit_checkpoints"):
                for change in ("update", "delete"):
                    connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS {table}_no_{change}")
        else:
            for table in ("audit_log", "audit_checkpoints"):
                connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS {table}_only_grows ON {table}")
        for statement in statements:
            connection.exec_driver_sql(statement)


def test_a_log_cut_off_with_its_checkpoints_is_detected_by_their_copies(database: Database, tmp_path: Path) -> None:
    fill(database, 2)
    sign_newest(database, tmp_path, now_ns=1)
    fill(database, 2, start=2)
    sign_newest(database, tmp_path, now_ns=2)
    without_triggers(database, "DELETE FROM audit_log WHERE seq > 2", "DELETE FROM audit_checkpoints WHERE seq > 2")
    with pytest.raises(DamagedLogError, match=r"ends at row 2, but row 4 was signed"):
        verify_database(database, tmp_path)


def test_a_changed_row_is_detected_and_what_follows_it_is_not_signed(database: Database, tmp_path: Path) -> None:
    fill(database, 3)
    without_triggers(database, "UPDATE audit_log SET actor = 'operator:eve' WHERE seq = 2")
    with pytest.raises(DamagedLogError, match="row 2"):
        sign_newest(database, tmp_path, now_ns=1)
    with pytest.raises(DamagedLogError, match="row 2"):
        verify_database(database, tmp_path)
    with database.read() as connection:
        assert checkpoints(connection) == []


def test_a_signature_by_another_key_or_over_another_time_is_refused(tmp_path: Path) -> None:
    (row,) = log_of(1)
    ours, theirs = Signer(tmp_path), Signer(_folder(tmp_path, "theirs"))
    with pytest.raises(DamagedLogError, match="not trusted"):
        verify_log([row], [theirs.sign(1, row.hash, 5)], [ours.public_key])
    assert verify_log([row], [theirs.sign(1, row.hash, 5)], [ours.public_key, theirs.public_key]).signed_seq == 1
    good = ours.sign(1, row.hash, 5)
    for forged in (
        Checkpoint(1, row.hash, 6, ours.public_key, good.signature),
        Checkpoint(1, row.hash, 5, ours.public_key, theirs.sign(1, row.hash, 5).signature),
        Checkpoint(1, row.hash, 5, ours.public_key, "zz"),
    ):
        with pytest.raises(DamagedLogError, match="signature"):
            verify_log([row], [forged], [ours.public_key])
    with pytest.raises(DamagedLogError, match="not the one that was signed"):
        verify_log([row], [ours.sign(1, "0" * 64, 5)], [ours.public_key])


def _folder(parent: Path, name: str) -> Path:
    (parent / name).mkdir()
    return parent / name
