from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from airserve.metering.event import Outcome, UsageEvent

MakeEvent = Callable[..., UsageEvent]

DAY_NS = 86_400 * 1_000_000_000


@pytest.fixture(scope="session")
def make_event() -> MakeEvent:
    base = UsageEvent(
        id="call-0",
        tenant_id="ten_a",
        key_id="key_a",
        model="digits",
        version=1,
        price_id=0,
        outcome=Outcome.OK,
        rows=1,
        bytes_in=256,
        bytes_out=40,
        compute_ns=1_000_000,
        amount_nano=1_000,
        currency="EUR",
        admitted_ns=20_000 * DAY_NS,
    )

    def make(**changes: object) -> UsageEvent:
        return msgspec.structs.replace(base, **changes)

    return make
