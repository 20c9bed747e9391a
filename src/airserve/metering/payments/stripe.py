"""Stripe, or a server that speaks the same two endpoints: meter events and customers.

Source: Stripe API reference, `POST /v1/billing/meter_events` and `POST /v1/customers`. An `identifier` that Stripe has
seen in the last day is an error there, and to us the proof that the event has arrived.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode, urlsplit

from airserve.core.errors import InvalidInputError
from airserve.metering.outgoing import Answer, UnreachableError, post
from airserve.metering.payments.provider import MeterEvent, RefusedEventError

NAME = "stripe"
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
# Wrong key, wrong URL, too many, in conflict with one under way: a matter of time or settings, not of the event.
_LATER = (401, 403, 404, 408, 409, 429)


class Stripe:
    """The adapter. `url` is `https://api.stripe.com` or another that speaks the same; http to this machine alone."""

    name = NAME

    def __init__(self, url: str, secret_key: str) -> None:
        parts = urlsplit(url)
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
            raise InvalidInputError("payments_url begins with https://: a secret key is sent there")
        self._url = url.rstrip("/")
        self._secret_key = secret_key

    def report(self, event: MeterEvent) -> None:
        """See `PaymentProvider.report`."""
        fields = {
            "event_name": event.meter,
            "identifier": event.identifier,
            "timestamp": str(event.at_s),
            "payload[stripe_customer_id]": event.customer,
            "payload[value]": str(event.value),
        }
        answer = self._post("/v1/billing/meter_events", fields, event.identifier)
        if answer.status < 300:
            return
        error = _error(answer)
        if answer.status == 400 and "already exists with identifier" in error:
            return
        raise RefusedEventError(f"{self.name} refused the event with {answer.status}: {error}")

    def create_customer(self, tenant_id: str, name: str, email: str) -> str:
        """See `PaymentProvider.create_customer`."""
        fields = {"name": name, "metadata[airserve_tenant]": tenant_id}
        if email:
            fields["email"] = email
        answer = self._post("/v1/customers", fields, f"customer-{tenant_id}")
        if answer.status >= 300:
            raise RefusedEventError(f"{self.name} makes no customer for '{name}': {_error(answer)}")
        customer = _json(answer).get("id")
        if not isinstance(customer, str):
            raise UnreachableError(f"{self.name} made a customer without an id")
        return customer

    def _post(self, path: str, fields: dict[str, str], key: str) -> Answer:
        headers = {
            "authorization": f"Bearer {self._secret_key}",
            "content-type": "application/x-www-form-urlencoded",
            "idempotency-key": key,
        }
        answer = post(self._url + path, urlencode(fields).encode(), headers, allow_private=True)
        if answer.status in _LATER or answer.status >= 500 or 300 <= answer.status < 400:
            raise UnreachableError(f"{self.name} answered {answer.status}: {_error(answer)}")
        return answer


def _json(answer: Answer) -> dict[str, Any]:
    try:
        found = json.loads(answer.body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _error(answer: Answer) -> str:
    error = _json(answer).get("error")
    message = error.get("message") if isinstance(error, dict) else None
    return str(message or "no reason given")[:200]
