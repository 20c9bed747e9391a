"""Where an installation keeps its things: database, packages, pepper and journal; in the state folder unless set.

One server with SQLite keeps all of them in its state folder. Several servers share one PostgreSQL, one folder of
packages and one pepper; journal, certificate and node id stay in the state folder of each.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from airserve.accounts.pepper import FILE_NAME as PEPPER_FILE
from airserve.accounts.pepper import check_pepper, load_or_create_pepper, refuse_new_pepper
from airserve.core.errors import ConflictError, InvalidInputError
from airserve.server.settings import Settings
from airserve.storage import Database
from airserve.storage.secret_file import load_or_create_secret
from airserve.storage.sqlite import FILE_NAME

if TYPE_CHECKING:
    # Most commands need the database alone, and what reads models takes as long to import as they take to run.
    from airserve.models.catalog import Catalog
    from airserve.models.policy import StorePolicy

SQLITE_NODE_ID = "node0"
NODE_FILE = "node_id"
_NODE_ID_BYTES = 17


def open_database(settings: Settings) -> Database:
    """The database of the installation, made or migrated where needed.

    Raises `ConflictError` where the state folder belongs to another database than the settings name: commands would
    otherwise work on an empty one without a word.
    """
    folder = settings.state_dir
    if settings.database_url is None and (folder / NODE_FILE).exists():
        raise ConflictError(
            f"{folder} belongs to a server of a PostgreSQL database, and no database_url is set: put it into "
            f"{folder / 'settings.toml'}, or into the environment as AIRSERVE_DATABASE_URL"
        )
    if settings.database_url is not None and (folder / FILE_NAME).exists():
        raise ConflictError(
            f"{folder} has an SQLite database of its own, which database_url would leave behind. Take it along with "
            "airserve db backup and airserve db restore into another --state-dir; or use that one from the start"
        )
    database = Database.open(folder, settings.database_url)
    if settings.database_url is not None:
        _kept_node_id(folder)
    return database


def node_id(settings: Settings) -> str:
    """This server's name in the journal: as set; else kept in the state folder with PostgreSQL, `node0` with SQLite."""
    from airserve.metering.journal_format import check_node_id

    if settings.node_id is not None:
        return check_node_id(settings.node_id)
    if settings.database_url is None:
        return SQLITE_NODE_ID
    return _kept_node_id(settings.state_dir)


def _kept_node_id(state_dir: Path) -> str:
    from airserve.metering.journal_format import check_node_id

    made = load_or_create_secret(
        state_dir / NODE_FILE, _NODE_ID_BYTES, lambda _: b"node-" + secrets.token_hex(6).encode()
    )
    return check_node_id(made.decode(errors="replace"))


def store_folder(settings: Settings) -> Path:
    """Where the published packages lie."""
    return settings.store_dir or settings.state_dir / "store"


def journal_folder(settings: Settings) -> Path:
    """Where this server's usage journal lies."""
    return settings.state_dir / "journal"


def payload_folder(settings: Settings) -> Path:
    """Where the payloads of projects that asked for it are kept."""
    return settings.state_dir / "payloads"


def load_pepper(settings: Settings, database: Database) -> bytes:
    """The pepper, made at first use. Raises `ConflictError` where the keys of `database` were hashed under another."""
    path = settings.pepper_file or settings.state_dir / PEPPER_FILE
    if not path.exists():
        refuse_new_pepper(database, path)
    pepper = load_or_create_pepper(settings.state_dir, settings.pepper_file)
    check_pepper(database, pepper, path)
    return pepper


def open_catalog(settings: Settings, database: Database) -> Catalog:
    """The catalog over the installation's packages, with the policy that the settings ask for."""
    from airserve.models.catalog import Catalog

    return Catalog(database, store_folder(settings), store_policy(settings))


def store_policy(settings: Settings) -> StorePolicy:
    """Whose signatures count, what encrypts packages, and what an ONNX graph may be. Raises `InvalidInputError`."""
    if settings.require_signed_models and not settings.trusted_model_keys:
        raise InvalidInputError("settings: require_signed_models needs trusted_model_keys, the files of public keys")
    from airserve.models.onnx_limits import OnnxLimits
    from airserve.models.policy import StorePolicy
    from airserve.models.signature import TrustedKeys
    from airserve.models.store_key import load_store_key

    defaults = OnnxLimits()
    return StorePolicy(
        key=load_store_key(settings.store_key_file, settings.kms_command),
        trusted=TrustedKeys.read(settings.trusted_model_keys),
        require_signed=settings.require_signed_models,
        limits=OnnxLimits(
            domains=defaults.domains | frozenset(settings.allowed_operator_domains),
            tensor_bytes=settings.model_tensor_mb << 20,
            memory_bytes=settings.model_trial_memory_mb << 20,
            seconds=settings.model_trial_seconds,
        ),
    )
