"""The port to payment providers: what one must be able to do for us."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from airserve.core.errors import AirserveError


class RefusedEventError(AirserveError):
    """The provider wants nothing of this event, however often it is sent."""

    code = "refused_event"


@dataclass(frozen=True, slots=True)
class MeterEvent:
    """So much of a unit that a customer used. `identifier` is the same at each repetition, and counted once."""

    identifier: str
    meter: str
    customer: str
    value: int
    at_s: int


class PaymentProvider(Protocol):
    """Both calls block, and raise `UnreachableError` for what may succeed later."""

    name: str

    def report(self, event: MeterEvent) -> None:
        """Tell of usage; telling twice is fine. Raises `RefusedEventError` for an event that will never be taken."""

    def create_customer(self, tenant_id: str, name: str, email: str) -> str:
        """Make a customer for a tenant, once; the provider's id for it."""
