"""The log of who did what as a file of JSON lines, that can be verified without the database that it is from.

The first line says the format, then there is one line for each row and one for each checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from airserve.core.errors import DamagedLogError, InvalidInputError
from airserve.storage.audit_checkpoints import Checkpoint, Signer, Verdict, checkpoints, verify_log
from airserve.storage.audit_log import LogRow, as_mapping, rows
from airserve.storage.database import Database

FORMAT = {"format": "airserve audit log", "version": 1}


def export_log(database: Database, file: Path) -> int:
    """Write the whole log and its checkpoints to `file`; returns the number of rows."""
    encode = msgspec.json.encode
    count = 0
    try:
        with file.open("wb") as output, database.read() as connection:
            output.write(encode(FORMAT) + b"\n")
            for row in rows(connection):
                output.write(encode({"row": as_mapping(row)}) + b"\n")
                count += 1
            output.writelines(encode({"checkpoint": checkpoint}) + b"\n" for checkpoint in checkpoints(connection))
    except OSError as error:
        raise InvalidInputError(f"{file} cannot be written: {error.strerror}") from None
    return count


def verify_database(database: Database, state_dir: Path, trusted: Iterable[str] = ()) -> Verdict:
    """Verify the log of a database against its checkpoints and the copies of them in the state folder.

    Trusted are the key of the state folder and those in `trusted`. Raises `DamagedLogError`.
    """
    signer = Signer(state_dir)
    with database.read() as connection:
        signed = [*checkpoints(connection), *signer.copies()]
        return verify_log(rows(connection), signed, [signer.public_key, *trusted])


def verify_export(file: Path, trusted: Iterable[str]) -> Verdict:
    """Verify an exported file against the `trusted` public keys (hex). Raises `DamagedLogError`."""
    log, signed = _read(file)
    verdict = verify_log(log, signed, trusted)
    if verdict.rows != verdict.signed_seq:
        raise DamagedLogError(f"{file} holds {verdict.rows} rows, signed are {verdict.signed_seq}: the file is cut off")
    return verdict


def _read(file: Path) -> tuple[list[LogRow], list[Checkpoint]]:
    try:
        first, *lines = file.read_bytes().splitlines()
    except OSError as error:
        raise InvalidInputError(f"{file} cannot be read: {error.strerror}") from None
    except ValueError:
        raise InvalidInputError(f"{file} is empty") from None
    log: list[LogRow] = []
    signed: list[Checkpoint] = []
    try:
        if msgspec.json.decode(first) != FORMAT:
            raise InvalidInputError(f"{file} is no exported log; make one with: airserve log export FILE")
        for line in lines:
            held: dict[str, Any] = msgspec.json.decode(line, type=dict)
            if "row" in held:
                log.append(msgspec.convert(held["row"], LogRow))
            else:
                signed.append(msgspec.convert(held["checkpoint"], Checkpoint))
    except (msgspec.MsgspecError, KeyError) as error:
        raise InvalidInputError(f"{file} is no exported log: {error}") from None
    return log, signed
