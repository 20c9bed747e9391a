"""What the first `airserve up` makes: an operator, a demo tenant with a key, and a model that answers."""

from __future__ import annotations

import json
import os
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from airserve.cli.output import error_console
from airserve.core.errors import ConflictError

if TYPE_CHECKING:
    from airserve.models.catalog import Catalog
    from airserve.server.settings import Settings
    from airserve.storage import Database

CREDENTIALS_FILE = "credentials.json"
DEMO_MODEL = "digits"
DEMO_TENANT = "demo"
DEMO_PRICE_PER_CALL_NANO = 100_000
DEMO_PRICE_PER_COMPUTE_SECOND_NANO = 20_000_000

# Sample 8 of the UCI handwritten digits (scikit-learn's load_digits): 8×8 pixels, 0 to 16, row by row; an 8.
EXAMPLE_EIGHT = [
    0, 0, 9, 14, 8, 1, 0, 0, 0, 0, 12, 14, 14, 12, 0, 0, 0, 0, 9, 10, 0, 15, 4, 0, 0, 0, 3, 16, 12, 14, 2, 0,
    0, 0, 4, 16, 16, 2, 0, 0, 0, 3, 16, 8, 10, 13, 2, 0, 0, 1, 15, 1, 3, 16, 8, 0, 0, 0, 11, 16, 15, 11, 1, 0,
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Credentials:
    """The keys of the demo tenant and the operator, kept for this user alone (mode 0600)."""

    key: str
    operator_key: str

    def save(self, state_dir: Path, *, url: str | None = None, ca: Path | None = None) -> None:
        """Write them, and where the service answers, for the commands of this machine."""
        path = state_dir / CREDENTIALS_FILE
        temporary = path.with_suffix(".new")
        temporary.unlink(missing_ok=True)
        content = {**asdict(self), "url": url, "ca": str(ca) if ca else None}
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(content, file, indent=2)
        temporary.replace(path)


def prepare(settings: Settings, *, demo: bool) -> Credentials:
    """The state folder, ready to serve; made at first start, left as it is later."""
    from airserve.server.installation import open_catalog, open_database

    database = open_database(settings)
    try:
        credentials = _credentials(settings, database)
        catalog = open_catalog(settings, database)
        if demo and not any(info.model == DEMO_MODEL for info in catalog.list()):
            if catalog.store.policy.require_signed:
                error_console.print("no demo model: only signed models are served here", highlight=False)
            else:
                _publish_demo(catalog, database)
    finally:
        database.close()
    return credentials


def _credentials(settings: Settings, database: Database) -> Credentials:
    """The kept ones; where they are lost, new keys for the same operator and tenant."""
    state_dir = settings.state_dir
    try:
        kept = json.loads((state_dir / CREDENTIALS_FILE).read_text())
        return Credentials(kept["key"], kept["operator_key"])
    except (OSError, ValueError, KeyError):
        pass
    from airserve.accounts import create_key, create_tenant, list_tenants
    from airserve.server.installation import load_pepper

    pepper, now_ns = load_pepper(settings, database), time.time_ns()
    if not any(tenant.name == DEMO_TENANT for tenant in list_tenants(database)):
        with suppress(ConflictError):  # another server of the same database was faster
            create_tenant(database, DEMO_TENANT, now_ns=now_ns)
    key, _ = create_key(database, pepper, now_ns=now_ns, tenant=DEMO_TENANT, name="first start")
    operator_key, _ = create_key(database, pepper, now_ns=now_ns, tenant=None, name="first start")
    credentials = Credentials(key, operator_key)
    credentials.save(state_dir)
    return credentials


def _publish_demo(catalog: Catalog, database: Database) -> None:
    from airserve.cli.training import train_to_package
    from airserve.metering.prices import set_price

    error_console.print("first start: training a model of handwritten digits …", highlight=False)
    with tempfile.TemporaryDirectory() as scratch:
        report = train_to_package("sklearn:digits", Path(scratch) / DEMO_MODEL, name=DEMO_MODEL)
        catalog.publish(Path(scratch) / DEMO_MODEL)
    set_price(
        database,
        DEMO_MODEL,
        per_call_nano=DEMO_PRICE_PER_CALL_NANO,
        per_compute_second_nano=DEMO_PRICE_PER_COMPUTE_SECOND_NANO,
        now_ns=time.time_ns(),
    )
    error_console.print(f"published '{DEMO_MODEL}', {report.score:.1%} right on scans it had not seen", highlight=False)
