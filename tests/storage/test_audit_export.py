from __future__ import annotations

from pathlib import Path

import pytest

from airserve.core.errors import DamagedLogError, InvalidInputError
from airserve.storage import Database
from airserve.storage.audit_checkpoints import Signer, sign_newest
from airserve.storage.audit_export import export_log, verify_export
from airserve.storage.audit_log import record


@pytest.fixture
def exported(tmp_path: Path) -> tuple[Path, str]:
    """An exported log of five rows with two checkpoints, and the key that it is signed with."""
    database = Database.open(tmp_path / "state")
    for now_ns in range(1, 6):
        with database.write() as connection:
            record(connection, actor="operator:ada", action="key.revoke", object_id=f"key{now_ns}", now_ns=now_ns)
        if now_ns in (2, 5):
            sign_newest(database, tmp_path / "state", now_ns=now_ns)
    file = tmp_path / "log.jsonl"
    assert export_log(database, file) == 5
    database.close()
    return file, Signer(tmp_path / "state").public_key


def test_an_exported_log_is_verified_without_its_database(exported: tuple[Path, str]) -> None:
    file, key = exported
    verdict = verify_export(file, [key])
    assert (verdict.rows, verdict.signed_seq, verdict.signed_ns) == (5, 5, 5)
    with pytest.raises(DamagedLogError, match="not trusted"):
        verify_export(file, ["00" * 32])


@pytest.mark.parametrize("line", range(1, 8))
def test_any_line_that_is_missing_is_noticed_but_one_that_another_covers(exported: tuple[Path, str], line: int) -> None:
    file, key = exported
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:line] + lines[line + 1 :]))
    if line == 6:
        # The checkpoint of row 2: that of row 5 says all that it did.
        assert verify_export(file, [key]).signed_seq == 5
        return
    with pytest.raises(DamagedLogError):
        verify_export(file, [key])


def test_a_file_that_was_cut_off_is_noticed(exported: tuple[Path, str]) -> None:
    file, key = exported
    lines = file.read_bytes().splitlines(keepends=True)
    for kept in range(1, len(lines)):
        file.write_bytes(b"".join(lines[:kept]))
        if kept == 1:
            # A log of nothing, signed by nobody, is whole; what it lacks only an earlier export can tell.
            assert verify_export(file, [key]).rows == 0
            continue
        with pytest.raises(DamagedLogError):
            verify_export(file, [key])


@pytest.mark.parametrize("content", [b"", b"{}\n", b"no json\n", b'{"format":"airserve audit log","version":1}\n[]\n'])
def test_what_is_no_export_is_told_apart(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(InvalidInputError):
        verify_export(tmp_path / "file", [])
