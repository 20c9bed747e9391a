"""Signed checkpoints of the log of who did what: an Ed25519 signature (RFC 8032) over the hash of its newest row.

The key lies beside the database (`audit-key`), and each checkpoint also goes to a file there
(`audit-checkpoints.jsonl`): whoever can write the database alone cannot shorten the log unnoticed, and whoever took an
export away earlier can hold any later log against it. Signed is the text

    airserve audit log "\\n" seq "\\n" hash "\\n" signed_ns
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import sqlalchemy as sa

from airserve.core.errors import DamagedLogError
from airserve.storage.audit_log import GENESIS, LogRow, follow_chain, rows
from airserve.storage.database import Database
from airserve.storage.secret_file import load_or_create_secret
from airserve.storage.tables import audit_checkpoints, audit_log

KEY_FILE = "audit-key"
COPY_FILE = "audit-checkpoints.jsonl"


class Checkpoint(msgspec.Struct, frozen=True):
    """That row `seq` had `hash`, said by the owner of `public_key` (hex) at `signed_ns`."""

    seq: int
    hash: str
    signed_ns: int
    public_key: str
    signature: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a log that is whole holds: `rows` rows, signed up to `signed_seq`; `hash` is that of the newest row."""

    rows: int
    signed_seq: int
    signed_ns: int
    hash: str


class Signer:
    """The key of one state folder, made at first use; servers of one database are given the same."""

    def __init__(self, state_dir: Path) -> None:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        self._copy = state_dir / COPY_FILE
        self._key = Ed25519PrivateKey.from_private_bytes(load_or_create_secret(state_dir / KEY_FILE, 32))
        self.public_key = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()

    def sign(self, seq: int, hash: str, now_ns: int) -> Checkpoint:
        """A checkpoint of row `seq`."""
        signature = self._key.sign(_text(seq, hash, now_ns)).hex()
        return Checkpoint(seq, hash, now_ns, self.public_key, signature)

    def keep_copy(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint down outside of the database."""
        with self._copy.open("ab") as file:
            file.write(msgspec.json.encode(checkpoint) + b"\n")

    def copies(self) -> list[Checkpoint]:
        """The checkpoints written down outside of the database; a torn last line, of a crash, is left out."""
        if not self._copy.exists():
            return []
        whole = self._copy.read_bytes().rpartition(b"\n")[0]
        try:
            return [msgspec.json.decode(line, type=Checkpoint) for line in whole.splitlines() if line]
        except msgspec.MsgspecError as error:
            raise DamagedLogError(f"{self._copy} is damaged: {error}; restore it from a backup") from error


def sign_newest(database: Database, state_dir: Path, *, now_ns: int) -> Checkpoint | None:
    """Sign the newest row, where that was not done yet; the rows since the last checkpoint are verified first."""
    with database.read() as connection:
        if not _unsigned(connection):
            return None
    signer = Signer(state_dir)
    with database.write(announce=False) as connection:
        signed = _newest_checkpoint(connection)
        seq, hash = (signed.seq, signed.hash) if signed else (0, GENESIS)
        newest = deque(follow_chain(rows(connection, after=seq), seq, hash), maxlen=1)
        if not newest:
            return None
        checkpoint = signer.sign(newest[0].seq, newest[0].hash, now_ns)
        connection.execute(audit_checkpoints.insert().values(msgspec.structs.asdict(checkpoint)))
    signer.keep_copy(checkpoint)
    return checkpoint


def checkpoints(connection: sa.Connection) -> list[Checkpoint]:
    """All checkpoints in the database, by row."""
    query = sa.select(audit_checkpoints).order_by(audit_checkpoints.c.seq)
    return [Checkpoint(*row) for row in connection.execute(query)]


def verify_log(log: Iterable[LogRow], signed: Iterable[Checkpoint], trusted: Iterable[str]) -> Verdict:
    """Hold a whole log against its hashes and against checkpoints by the `trusted` public keys (hex).

    Raises `DamagedLogError` for the first row that was changed, removed, inserted or moved, for a signature that is
    wrong or by another key, and where the log ends before a row that was signed.
    """
    keys = frozenset(trusted)
    by_row: dict[int, list[Checkpoint]] = {}
    for checkpoint in signed:
        _check_signature(checkpoint, keys)
        by_row.setdefault(checkpoint.seq, []).append(checkpoint)
    verdict = Verdict(0, 0, 0, GENESIS)
    for row in follow_chain(log):
        here = by_row.pop(row.seq, ())
        if any(checkpoint.hash != row.hash for checkpoint in here):
            raise DamagedLogError(f"row {row.seq} of the log is not the one that was signed")
        last = (row.seq, here[-1].signed_ns) if here else (verdict.signed_seq, verdict.signed_ns)
        verdict = Verdict(row.seq, *last, row.hash)
    if by_row:
        raise DamagedLogError(
            f"the log ends at row {verdict.rows}, but row {max(by_row)} was signed: rows were removed"
        )
    return verdict


def _check_signature(checkpoint: Checkpoint, trusted: frozenset[str]) -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if checkpoint.public_key not in trusted:
        raise DamagedLogError(
            f"row {checkpoint.seq} was signed by {checkpoint.public_key}, a key that is not trusted here; "
            "if it is that of another server of this database, say --public-key"
        )
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(checkpoint.public_key))
        text = _text(checkpoint.seq, checkpoint.hash, checkpoint.signed_ns)
        key.verify(bytes.fromhex(checkpoint.signature), text)
    except (InvalidSignature, ValueError):
        raise DamagedLogError(f"the signature of row {checkpoint.seq} is wrong") from None


def _unsigned(connection: sa.Connection) -> bool:
    newest = connection.scalar(sa.select(sa.func.max(audit_log.c.seq))) or 0
    signed = connection.scalar(sa.select(sa.func.max(audit_checkpoints.c.seq))) or 0
    return newest > signed


def _newest_checkpoint(connection: sa.Connection) -> Checkpoint | None:
    row = connection.execute(sa.select(audit_checkpoints).order_by(audit_checkpoints.c.seq.desc())).first()
    return Checkpoint(*row) if row else None


def _text(seq: int, hash: str, signed_ns: int) -> bytes:
    return f"airserve audit log\n{seq}\n{hash}\n{signed_ns}".encode()
