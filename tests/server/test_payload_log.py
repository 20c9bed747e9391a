from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from airserve.accounts.payload_logging import PayloadLogging
from airserve.core.errors import BadPackageError, InvalidInputError
from airserve.models.store_key import LocalKey
from airserve.server.payload_log import REDACTED, PayloadLog, read_payloads, redacted, tensors_record
from airserve.server.payload_writer import PayloadWriter

DAY_NS = 86_400 * 10**9
NOW_NS = 20_000 * DAY_NS
ON = PayloadLogging(enabled=True, retention_days=7, redact=("name", "x"))
KEY = LocalKey(b"k" * 32)
CANARY = "Mrs Canary of Harz"


def kept(folder: Path, key: LocalKey | None = KEY) -> list[dict[str, Any]]:
    return list(read_payloads(folder, "p1", key))


def bytes_below(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_a_project_that_did_not_ask_has_nothing_written(tmp_path: Path) -> None:
    log = PayloadLog(tmp_path / "payloads", KEY, run="r")
    log.append("p1", PayloadLogging(), {"input": CANARY}, NOW_NS)
    log.close()
    assert not list(tmp_path.rglob("*"))


@pytest.mark.parametrize("key", [None, KEY])
def test_what_was_asked_for_is_kept_without_what_was_redacted(tmp_path: Path, key: LocalKey | None) -> None:
    log = PayloadLog(tmp_path, key, run="r")
    secret = "as_live_" + "a1B2" * 15
    record = {
        "inputs": {"x": {"data": [1, 2]}, "note": f"my key is {secret}", "deep": [{"name": "Ada"}, "Bearer abcdefgh1"]}
    }
    log.append("p1", ON, record, NOW_NS)
    log.append("p1", ON, {"answer": CANARY}, NOW_NS)
    first, second = kept(tmp_path, key)
    assert first["inputs"] == {
        "x": REDACTED, "note": f"my key is {REDACTED}", "deep": [{"name": REDACTED}, f"Bearer {REDACTED}"]
    }  # fmt: skip
    assert second == {"answer": CANARY}
    written = bytes_below(tmp_path)
    assert secret.encode() not in written and b"Ada" not in written
    assert (CANARY.encode() in written) == (key is None)
    assert all(path.stat().st_mode & 0o077 == 0 for path in tmp_path.rglob("*"))


@pytest.mark.parametrize(
    "secret",
    ["as_adm_" + "x9" * 20, "sk-" + "q" * 30, "ghp_" + "Z" * 36, "xoxb-1234567890-abc", "AKIAIOSFODNN7EXAMPLE"],
)
def test_keys_of_every_kind_are_left_out_wherever_they_stand(secret: str) -> None:
    assert secret not in str(redacted({f"the {secret}": [f"say {secret} twice: {secret}"]}, frozenset()))


def test_files_end_with_their_day_or_their_size_and_old_ones_are_removed(tmp_path: Path) -> None:
    log = PayloadLog(tmp_path, KEY, run="r", file_bytes=100)
    for day in range(10):
        for number in range(2):
            log.append("p1", ON, {"day": day, "number": number}, NOW_NS + day * DAY_NS)
    days = [record["day"] for record in kept(tmp_path)]
    assert sorted(set(days)) == list(range(2, 10)) and len(days) == 16
    # Of a project that is off by now nothing stays either.
    assert log.sweep(NOW_NS + 20 * DAY_NS) > 0 and not kept(tmp_path)


@pytest.mark.parametrize("harm", ["flip", "swap", "other-project", "other-key"])
def test_a_sealed_file_that_was_changed_or_moved_is_refused(tmp_path: Path, harm: str) -> None:
    log = PayloadLog(tmp_path, KEY, run="r")
    for number in range(3):
        log.append("p1", ON, {"number": number}, NOW_NS)
    log.close()
    (file,) = tmp_path.rglob("*.sealed")
    lines = file.read_bytes().split(b"\n")
    if harm == "flip":
        lines[2] = lines[2][:-6] + bytes([lines[2][-6] ^ 1]) + lines[2][-5:]
    if harm == "swap":
        lines[1], lines[2] = lines[2], lines[1]
    file.write_bytes(b"\n".join(lines))
    if harm == "other-project":
        (tmp_path / "p2").mkdir()
        file.rename(tmp_path / "p2" / file.name)
    with pytest.raises(BadPackageError):
        list(read_payloads(tmp_path, "p2" if harm == "other-project" else "p1",
                           LocalKey(b"o" * 32) if harm == "other-key" else KEY))  # fmt: skip


def test_a_line_that_a_crash_cut_off_is_left_out(tmp_path: Path) -> None:
    log = PayloadLog(tmp_path, KEY, run="r")
    log.append("p1", ON, {"number": 1}, NOW_NS)
    log.append("p1", ON, {"number": 2}, NOW_NS)
    (file,) = tmp_path.rglob("*.sealed")
    file.write_bytes(file.read_bytes()[:-10])
    assert [record["number"] for record in kept(tmp_path)] == [1]


def test_a_project_is_no_path() -> None:
    with pytest.raises(InvalidInputError):
        PayloadLog(Path("/nowhere"), None, run="r").append("../up", ON, {}, NOW_NS)


def test_tensors_are_kept_as_json_has_them() -> None:
    text = np.array([b"yes", b"\xff"], object)
    record = tensors_record({"x": np.array([[1.5, 2]], np.float32), "t": text, "big": np.zeros(20_000, np.int8)})
    assert record["x"] == {"datatype": "FP32", "shape": [1, 2], "data": [1.5, 2.0]}
    assert record["t"]["data"] == ["yes", "base64:/w=="]
    assert record["big"] == {"datatype": "INT8", "shape": [20_000]}


def test_the_writer_never_makes_anybody_wait_and_says_what_it_dropped(tmp_path: Path) -> None:
    writer = PayloadWriter(PayloadLog(tmp_path, KEY, run="r"), capacity=1000)
    for number in range(100):
        writer.submit("p1", ON, lambda number=number: {"number": number}, NOW_NS)  # type: ignore[misc]
    writer.submit("../up", ON, dict, NOW_NS)
    writer.close()
    assert [record["number"] for record in kept(tmp_path)] == list(range(100)) and writer.dropped == 1
