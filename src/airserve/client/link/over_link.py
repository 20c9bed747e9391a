"""One call over the link: code the inputs, send them, read the answer, and learn from what it took."""

from __future__ import annotations

import asyncio
import time

from airserve.client.calls import keyed, of_variant
from airserve.client.exchange import HttpResponse, Timings, outputs_of, variant_of
from airserve.client.link.ask import Ask
from airserve.client.link.codec_book import CodecBook
from airserve.client.link.coding import CodedCall, coded_call, decoded
from airserve.client.link.offer import Offer
from airserve.client.link.options import NOTHING_KNOWN, Priced, Seen
from airserve.client.link.outcome import Outcome
from airserve.client.link.outputs_back import Back
from airserve.client.link.paths import Trip
from airserve.client.link.places import Places
from airserve.client.link.plan import RAW, Option
from airserve.client.link.sender import Sender
from airserve.client.link.sent_inputs import Digests, SentInputs
from airserve.client.link.sizes import rows_of
from airserve.core.errors import InputNotHeldError

_LARGE_BYTES = 64 << 10
# Another attempt of the call was answered, or an earlier call under the caller's own key.
_REPLAYED = ("airserve-replayed", "idempotent-replayed")


class OverLink:
    """The cloud, or the head of a model here and its tail there."""

    def __init__(self, sender: Sender, places: Places, book: CodecBook) -> None:
        self._sender, self._places, self._book = sender, places, book
        self._seen: dict[str, Seen] = {}
        self._sent = SentInputs()

    def digests(self, ask: Ask) -> Digests:
        """What is known of the call's inputs."""
        return Digests(ask.inputs, self._sent, time.monotonic())

    def seen(self, model: str) -> Seen:
        """What was seen of a model's answers."""
        return self._seen.setdefault(model, Seen())

    async def run(
        self, ask: Ask, offer: Offer, option: Option, priced: Priced, digests: Digests, back: Back = NOTHING_KNOWN
    ) -> Outcome:
        """The answer by the plan of `option`, whose costs are `priced`. Raises what the service refuses with."""
        began, plan, state = time.monotonic(), option.plan, self._sender.state
        state.attempted_at = began
        try:
            response, told, trip = await self._send(ask, offer, priced, digests, back)
        except InputNotHeldError:
            digests.missed()
            response, told, trip = await self._send(ask, offer, priced, digests, back)
        digests.arrived()
        seconds = time.monotonic() - began
        state.corrections.learn((ask.model, plan), option.prediction.p50_s, seconds)
        replayed = any(response.headers.get(name) == "true" for name in _REPLAYED)
        outputs = outputs_of(response, decoded)
        if plan.place == "cloud":
            rows = max((rows_of(array) for array in ask.inputs.values()), default=1)
            self.seen(ask.model).learn(
                (told.queue_ms + told.compute_ms) / 1000, len(response.body), outputs, rows, whole=ask.outputs is None
            )
        variant, accuracy = variant_of(response)
        if option.accuracy is not None:
            accuracy = option.accuracy * offer.of_variant(accuracy)
        return Outcome(outputs, plan, accuracy, seconds, told, replayed, f"HTTP/{trip.kind}", variant)

    async def _send(
        self, ask: Ask, offer: Offer, priced: Priced, digests: Digests, back: Back
    ) -> tuple[HttpResponse, Timings, Trip]:
        call = await self._coded(ask, offer, priced, digests, back)
        least = ask.min_accuracy
        if least is None and priced.plan.place == "cloud":
            # Who asked for an accuracy is not given a variant that falls short of it.
            least = offer.least_variant(ask.accuracy, priced.accuracy)
        request = of_variant(keyed(call.request, ask.idempotency_key), ask.variant, least)
        return await self._sender.call(request, _left_ms(ask))

    async def _coded(self, ask: Ask, offer: Offer, priced: Priced, digests: Digests | None, back: Back) -> CodedCall:
        plan, model, version, inputs = priced.plan, ask.model, ask.version, ask.inputs
        if plan.place == "split":
            cut = next(each for each in offer.splits if each.model == plan.tail)
            head = await self._places.load(cut.model, cut.version, cut.head_sha256)
            (features,) = (await head.run(inputs)).values()
            model, version, inputs, digests = cut.model, str(cut.version), {cut.tensor: features}, None
        vision, outputs, codecs = offer.vision, ask.outputs, back.codecs if plan.place == "cloud" else {}
        if codecs and outputs is None:
            outputs = back.names
        said = (inputs, plan.codec, priced.codecs, vision, outputs, ask.call_id, self._book, digests, codecs)
        work = (model, version, *said)
        if plan.codec == RAW or priced.costs.up_bytes + priced.costs.encode_s * 1e8 < _LARGE_BYTES:
            return coded_call(*work)
        return await asyncio.to_thread(coded_call, *work)


def _left_ms(ask: Ask) -> float | None:
    """What is left of the deadline or of the call's own time, milliseconds; None where there is neither."""
    budgets = [each for each in (ask.timeout_ms, None if ask.deadline_s is None else ask.deadline_s * 1000) if each]
    return max(1.0, min(budgets) - (time.monotonic() - ask.began) * 1000) if budgets else None
