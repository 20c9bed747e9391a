"""What both clients share: settings of a client, and the bookkeeping of one call, still without I/O."""

from __future__ import annotations

import random
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airserve.client.exchange import Attempts, HttpRequest, HttpResponse, Timings, infer_request, raise_for, timings
from airserve.core.errors import AirserveError, InvalidInputError

if TYPE_CHECKING:
    from airserve.client.sealing import SealedInfer, SealedKeys


class Settings:
    """What a client was made with."""

    def __init__(self, url: str, key: str | None, timeout_ms: float | None, retries: int) -> None:
        self.url = url
        self.key = key
        self.timeout_ms = timeout_ms
        self.retries = retries

    def headers(self, request: HttpRequest, remaining_ms: float | None) -> dict[str, str]:
        """The request's headers with the key and what is left of its time."""
        headers = dict(request.headers)
        if self.key is not None:
            headers["authorization"] = f"Bearer {self.key}"
        if remaining_ms is not None and request.method == "POST":
            headers["airserve-timeout-ms"] = f"{max(remaining_ms, 0.001):.3f}"
        return headers

    def attempts(self, timeout_ms: float | None, now: float) -> Attempts:
        """The budget of a new call; `timeout_ms` wins over the client's."""
        budget = self.timeout_ms if timeout_ms is None else timeout_ms
        return Attempts(deadline=None if budget is None else now + budget / 1000, retries=self.retries)


class CallInProgress:
    """One call over its attempts: the shells ask it what to send and tell it what came back."""

    def __init__(self, settings: Settings, request: HttpRequest, timeout_ms: float | None, now: float) -> None:
        self.request = request
        self._settings = settings
        self._attempts = settings.attempts(timeout_ms, now)
        self._sent_at = now

    def send(self, now: float) -> tuple[dict[str, str], float | None]:
        """Headers of the next attempt and the seconds that it may take."""
        remaining_ms = self._attempts.remaining_ms(now)
        self._attempts.made += 1
        self._sent_at = now
        return self._settings.headers(self.request, remaining_ms), None if remaining_ms is None else remaining_ms / 1000

    def received(self, response: HttpResponse, now: float) -> Timings:
        """The timings of a good answer; raises the refusal of any other."""
        raise_for(response)
        return timings(response, round_trip_s=now - self._sent_at, attempts=self._attempts.made)

    def pause(self, error: AirserveError, now: float) -> float:
        """Seconds until the next attempt; raises `error` where there is none."""
        return self._attempts.pause(error, now, random.random())  # noqa: S311  # jitter, no secret


def new_sealed_infer(
    model: str, inputs: Mapping[str, Any], version: str | None, outputs: Sequence[str] | None, call_id: str | None
) -> SealedInfer:
    """A sealed call under `call_id`, or a new id. Raises `InvalidInputError` where nothing can seal it."""
    try:
        from airserve.client.sealing import SealedInfer
    except ImportError as error:
        need = f"sealed calls need another package ({error.name}): pip install 'airserve[sealed]'"
        raise InvalidInputError(need) from None
    return SealedInfer(model, inputs, version, outputs, call_id or new_call_id())


def new_sealed_keys(identity: str | None) -> SealedKeys:
    """The keys of a service with this identity; None trusts the first that answers."""
    from airserve.client.sealing import SealedKeys

    return SealedKeys(identity)


def new_call_id() -> str:
    """An id for a new call, the same for all its attempts."""
    return uuid.uuid4().hex


def keyed(request: HttpRequest, idempotency_key: str | None) -> HttpRequest:
    """The request under a key of the caller's own, which outlives this process."""
    if idempotency_key is None:
        return request
    return replace(request, headers={**request.headers, "idempotency-key": idempotency_key})


def of_variant(request: HttpRequest, variant: str | None, min_accuracy: float | None) -> HttpRequest:
    """The request, for that variant alone or for those that are accurate enough."""
    if min_accuracy is not None and not 0 <= min_accuracy < 1e9:
        raise InvalidInputError(f"min_accuracy={min_accuracy} is the least accuracy of an answer, such as 0.99")
    asked = {} if variant is None else {"airserve-variant": variant}
    if min_accuracy is not None:
        # Rounded down: what the manifest says has no more digits.
        asked["airserve-min-accuracy"] = f"{int(min_accuracy * 1e9 + 1e-3) / 1e9:.9f}"
    return replace(request, headers={**request.headers, **asked}) if asked else request


def refuse_sealed_variant(variant: str | None, min_accuracy: float | None) -> None:
    """Of a sealed model one variant is served."""
    if variant is not None or min_accuracy is not None:
        raise InvalidInputError("a sealed model has one variant; leave out variant and min_accuracy")


def refuse_sealed_key(idempotency_key: str | None) -> None:
    """No attempt at a sealed call is like another, so none could be told from a new call."""
    if idempotency_key is not None:
        raise InvalidInputError("a sealed call takes no idempotency_key; its call_id already makes it count once")


def new_infer_request(
    model: str, inputs: Mapping[str, Any], version: str | None, outputs: Sequence[str] | None, call_id: str | None
) -> HttpRequest:
    """An infer request under `call_id`, or a new id."""
    return infer_request(model, inputs, version=version, outputs=outputs, call_id=call_id or new_call_id())
