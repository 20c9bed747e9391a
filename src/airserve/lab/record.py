"""Records a real link by real transfers to a service, as a trace.

Each second: a round trip (the fastest of three small GETs over a warm connection), then an uplink transfer (a POST
whose body the service reads, refuses as no JSON, and does not bill), then a downlink transfer (a GET of the API's
description). A rate is bytes × 8 over the time less the round trip: TCP goodput of one flow, so a lower bound of the
link. A call that is not answered in time counts as an outage: a rate of 0.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pyqwest

from airserve.core.errors import ForbiddenError, InvalidInputError, MissingKeyError, UnreachableError
from airserve.lab.link import Link
from airserve.lab.trace import Assumed, Sample, Trace, to_link

EVERY_S = 1.0
TIMEOUT_S = 5.0
_LEAST_BODY, _MOST_BODY = 16_000, 500_000
_DOWN_PATH = "/openapi.json"
_TOGETHER_S = 0.25
_NETWORK_ERRORS = (OSError, pyqwest.ReadError, pyqwest.WriteError, pyqwest.RemoteProtocolError)


@dataclass(frozen=True, slots=True)
class Budget:
    """How long to record, and how many bytes of bodies may be sent and received together."""

    seconds: float
    most_bytes: int


@dataclass(frozen=True, slots=True)
class Recording:
    """The trace, and the bytes of bodies it cost a way."""

    trace: Trace
    sent_bytes: int
    received_bytes: int

    def link(self, name: str, url: str) -> Link:
        """The link that plays it again."""
        source = f"recorded against {url} by single transfers: TCP goodput, {len(self.trace.samples)} samples"
        rates = [sample.up_bps or 0.0 for sample in self.trace.samples]
        return to_link([self.trace], name, source, Assumed(rate_bps=max(*rates, 1e6)))


class Recorder:
    """Calls one service over one connection. `ca` is the certificate authority to trust, a PEM file."""

    def __init__(self, url: str, key: str, model: str, ca: Path | None = None) -> None:
        if not url.startswith(("http://", "https://")):
            raise InvalidInputError(f"'{url}' is no URL of a service; it begins with https://.")
        options = {"tls_include_system_certs": True} if ca is None else {"tls_ca_cert": ca.read_bytes()}
        self._client = pyqwest.SyncClient(
            pyqwest.SyncHTTPTransport(follow_redirects=False, enable_otel=False, **options)
        )
        self._url = url.rstrip("/")
        self._key = {"authorization": f"Bearer {key}"}
        self._model = model
        self._body = _LEAST_BODY
        self.sent_bytes = 0
        self.received_bytes = 0

    def check(self) -> None:
        """Raise unless the service answers, and lets this key call the model."""
        try:
            status = self._client.get(
                f"{self._url}/v2/models/{self._model}", headers=self._key, timeout=TIMEOUT_S
            ).status
        except (TimeoutError, *_NETWORK_ERRORS) as error:
            raise UnreachableError(f"no answer from {self._url}: {str(error)[:200]}") from None
        if status == 401:
            raise MissingKeyError("the service does not know this key; give --key")
        if status != 200:
            raise ForbiddenError(f"the service answers {status} for the model '{self._model}'; give another --model")

    def sample(self, at_s: float) -> Sample:
        """Measure once."""
        try:
            rtt_s = min(self._timed(self._small) for _ in range(3))
        except (TimeoutError, *_NETWORK_ERRORS):
            return Sample(at_s, up_bps=0.0, down_bps=0.0)
        up_bps = self._rate(self._upload, rtt_s)
        down_bps = self._rate(self._download, rtt_s)
        return Sample(at_s, up_bps, down_bps, rtt_s / 2, rtt_s / 2)

    def _rate(self, transfer: Callable[[], int], rtt_s: float) -> float:
        began = time.monotonic()
        try:
            size = transfer()
        except (TimeoutError, *_NETWORK_ERRORS):
            return 0.0
        took = time.monotonic() - began
        return size * 8 / max(took - rtt_s, took / 20, 1e-4)

    def _timed(self, call: Callable[[], int]) -> float:
        began = time.monotonic()
        call()
        return time.monotonic() - began

    def _small(self) -> int:
        response = self._client.get(f"{self._url}/v2/health/live", timeout=TIMEOUT_S)
        return len(response.content)

    def _upload(self) -> int:
        """Send a body as large as the link carries in a quarter of a second, as far as is known by now."""
        body = b" " * self._body
        began = time.monotonic()
        response = self._client.post(
            f"{self._url}/v2/models/{self._model}/infer", headers=self._key, content=body, timeout=TIMEOUT_S
        )
        took = time.monotonic() - began
        if response.status not in (400, 429):
            raise ForbiddenError(f"the service answers {response.status} to an upload; give another --key or --model")
        self.sent_bytes += len(body)
        self._body = round(min(max(len(body) * min(_TOGETHER_S / took, 4.0), _LEAST_BODY), _MOST_BODY))
        return len(body)

    def _download(self) -> int:
        response = self._client.get(f"{self._url}{_DOWN_PATH}", headers=self._key, timeout=TIMEOUT_S)
        self.received_bytes += len(response.content)
        return len(response.content)


def record(recorder: Recorder, budget: Budget) -> Recording:
    """Record until the time or the bytes are used up. Raises what `Recorder.check` raises."""
    recorder.check()
    recorder.sample(0.0)  # Opens the connection and finds a fitting size; its figures would be those of a cold start.
    samples = list(_samples(recorder, budget))
    first = samples[0].time_s
    shifted = tuple(replace(sample, time_s=sample.time_s - first) for sample in samples)
    return Recording(Trace(shifted), recorder.sent_bytes, recorder.received_bytes)


def _samples(recorder: Recorder, budget: Budget) -> Iterator[Sample]:
    began = time.monotonic()
    while True:
        now = time.monotonic() - began
        yield recorder.sample(now)
        spent = recorder.sent_bytes + recorder.received_bytes
        if time.monotonic() - began + EVERY_S / 2 >= budget.seconds or spent + 2 * _LEAST_BODY > budget.most_bytes:
            return
        time.sleep(max(now + EVERY_S - (time.monotonic() - began), 0.0))
