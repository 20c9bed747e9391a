"""A state folder with a model, a price, a tenant and its key: what every process of the campaign works on."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from campaign.load import BODY, KEYED, MODEL, STREAM_BODY, STREAMS

DATABASE_VARIABLE = "AIRSERVE_DATABASE_URL"


@dataclass(frozen=True)
class House:
    """`url` is that of its PostgreSQL database; None is SQLite in the folder. `upstream` makes the words of streams."""

    state_dir: Path
    url: str | None
    upstream: str = ""

    @contextlib.contextmanager
    def environment(self) -> Iterator[dict[str, str]]:
        """The variables of a process that works on this house, set in this process too as long as the block lasts."""
        before = os.environ.pop(DATABASE_VARIABLE, None)
        if self.url is not None:
            os.environ[DATABASE_VARIABLE] = self.url
        try:
            yield dict(os.environ)
        finally:
            os.environ.pop(DATABASE_VARIABLE, None)
            if before is not None:
                os.environ[DATABASE_VARIABLE] = before


def furnish(house: House) -> str:
    """Publish the models and their prices, and make the tenant, with a budget that is never used up; its key."""
    from tests.models_for_tests import save_linear

    from airserve.accounts.budgets import set_budget
    from airserve.accounts.tenants import list_tenants
    from airserve.accounts.terms import Budget, BudgetMode
    from airserve.cli.first_start import DEMO_TENANT, prepare
    from airserve.engines.options import Upstream
    from airserve.metering.invoices.details import BillingDetails, set_billing_details
    from airserve.metering.prices import set_price
    from airserve.models.importers import import_upstream
    from airserve.models.onnx_import import package_onnx
    from airserve.server.installation import open_catalog, open_database
    from airserve.server.settings import load_settings

    settings = load_settings(house.state_dir)
    model = save_linear(house.state_dir.parent / f"{house.state_dir.name}-{MODEL}.onnx")
    credentials = prepare(settings, demo=False)
    database = open_database(settings)
    try:
        package = package_onnx(model, house.state_dir.parent / f"{house.state_dir.name}-package", name=MODEL)
        open_catalog(settings, database).publish(package)
        # One cent a call, so that there is something to invoice.
        set_price(database, MODEL, per_call_nano=10**7, per_compute_second_nano=7_000_000, now_ns=time.time_ns())
        if house.upstream:
            package = house.state_dir.parent / f"{house.state_dir.name}-{STREAMS}"
            import_upstream(Upstream(url=house.upstream, model="any"), package, name=STREAMS)
            open_catalog(settings, database).publish(package)
            set_price(
                database, STREAMS, per_call_nano=10**7, per_compute_second_nano=0,
                per_million_output_tokens_nano=10**9, now_ns=time.time_ns(),
            )  # fmt: skip
        budget = Budget(1_000 * 10**9, mode=BudgetMode.STRICT)
        set_budget(database, DEMO_TENANT, budget, now_ns=time.time_ns())
        (tenant,) = list_tenants(database)
        with database.write() as connection:
            set_billing_details(connection, tenant.id, BillingDetails(tax_ppm=220_000))
    finally:
        database.close()
    return credentials.key


def event_id(tenant_id: str, project_id: str, call_id: str, model: str = MODEL) -> str:
    """The ledger's id of an answered call of the load."""
    from airserve.accounts import Principal
    from airserve.metering.ledger import ledger_id
    from airserve.server.calls import Calls

    principal = Principal("", tenant_id, None, project_id=project_id)
    if call_id.startswith(KEYED):
        call_id = f"idempotency:{call_id}"
    return ledger_id(tenant_id, Calls.event_id(principal, model, call_id, STREAM_BODY if model == STREAMS else BODY))
