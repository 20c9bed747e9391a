"""All plans that there are for a call, with what each would cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from airserve.client.link.codec_book import CodecBook
from airserve.client.link.device_place import UNKNOWN_S, DevicePlace
from airserve.client.link.offer import CodecOffer, Offer, SplitOffer
from airserve.client.link.outputs_back import Back
from airserve.client.link.plan import RAW, Costs, Plan
from airserve.client.link.sent_inputs import DIGEST_BYTES, Digests
from airserve.client.link.sizes import raw_bytes, rows_of
from airserve.core.call import Tensors

HEAD_BYTES = 450
"""About what the headers and the JSON of a request take."""

NOTHING_KNOWN = Back()
_UNKNOWN_SERVICE_S = 0.01
_UNKNOWN_ANSWER_BYTES = 500.0


@dataclass(slots=True)
class Seen:
    """What was seen of a model's answers: the service's own seconds and the bytes; exponentially weighted means.

    `output_bytes` is what one row of each output takes as it is, as it was last.
    """

    service_s: float | None = None
    answer_bytes: float | None = None
    output_bytes: dict[str, float] = field(default_factory=dict)
    all_outputs: tuple[str, ...] = ()

    def learn(self, service_s: float, answer_bytes: int, outputs: Tensors, rows: int, *, whole: bool) -> None:
        """One more answer; `whole` where it has all outputs that there are."""
        if whole:
            self.all_outputs = tuple(outputs)
        self.output_bytes.update({name: raw_bytes(array) / max(rows, 1) for name, array in outputs.items()})
        self.service_s = service_s if self.service_s is None else self.service_s + 0.2 * (service_s - self.service_s)
        before = answer_bytes if self.answer_bytes is None else self.answer_bytes
        self.answer_bytes = before + 0.2 * (answer_bytes - before)


@dataclass(frozen=True, slots=True)
class Priced:
    """A plan, its accuracy relative to the whole model on raw inputs, its costs; `codecs` are per tensor."""

    plan: Plan
    accuracy: float | None
    costs: Costs
    codecs: Mapping[str, CodecOffer] = field(default_factory=dict)


def cloud_plans(
    model: str,
    offer: Offer,
    inputs: Tensors,
    seen: Seen,
    book: CodecBook,
    digests: Digests | None = None,
    back: Back = NOTHING_KNOWN,
) -> list[Priced]:
    """Raw, and every codec that the service offers for one of the inputs; the other inputs stay raw.

    Inputs that the service has already, as `digests` say, take neither bytes nor time. Outputs come as `back` says.
    """

    def is_held(name: str, codec: str) -> bool:
        return digests is not None and digests.find(name, codec) is not None

    sizes = {name: raw_bytes(array) for name, array in inputs.items()}
    service_s = seen.service_s if seen.service_s is not None else (offer.compute_ms or 0.0) / 1000
    service_s = service_s or _UNKNOWN_SERVICE_S
    down = _UNKNOWN_ANSWER_BYTES if back.down_bytes is None else back.down_bytes
    up = float(HEAD_BYTES) + sum(DIGEST_BYTES if is_held(name, RAW) else size for name, size in sizes.items())
    plans = [Priced(Plan("cloud"), back.accuracy, Costs(up, down, service_s=service_s))]
    for codec in dict.fromkeys(each.codec for each in offer.codecs if each.tensor in inputs):
        entries = {name: entry for name in inputs if (entry := offer.codec_offer(name, codec)) is not None}
        up, encode_s = float(HEAD_BYTES), 0.0
        for name, array in inputs.items():
            entry = entries.get(name)
            used = RAW if entry is None else codec
            if is_held(name, used):
                up += DIGEST_BYTES
                continue
            said = None if entry is None else entry.bytes
            up += book.size((model, name, used), rows_of(array), sizes[name], said)
            encode_s += book.seconds(used, sizes[name])
        costs = Costs(up, down, encode_s=encode_s, service_s=service_s)
        accuracy = _least(entries.values())
        accuracy = None if accuracy is None else min(accuracy, back.accuracy)
        plans.append(Priced(Plan("cloud", codec), accuracy, costs, entries))
    return plans


def device_plan(offer: Offer, device: DevicePlace | None, rows: int) -> Priced:
    """The answer on the device, None standing for a bundle to be loaded; `rows` rows take that many times as long."""
    p50_s, p95_s = (UNKNOWN_S, 2 * UNKNOWN_S) if device is None else (device.p50_s, device.p95_s)
    costs = Costs(device_s=p50_s * max(rows, 1), device_sure_s=p95_s * max(rows, 1))
    return Priced(Plan("device"), offer.device_accuracy(), costs)


def split_plans(
    offer: Offer, heads: Callable[[str], DevicePlace | None], rows: int, seen: Seen, book: CodecBook
) -> list[Priced]:
    """Every cut whose head is loaded, in every codec of its features. The tail takes its part of the service's time."""
    plans = []
    whole_s = seen.service_s if seen.service_s is not None else (offer.compute_ms or 0.0) / 1000
    down = _UNKNOWN_ANSWER_BYTES if seen.answer_bytes is None else seen.answer_bytes
    for cut in offer.splits:
        head = heads(cut.head_sha256)
        if head is None:
            continue
        for entry in codecs_of(cut):
            said = book.size((cut.model, cut.tensor, entry.codec), rows, int(entry.bytes or 0) * rows, entry.bytes)
            costs = Costs(
                HEAD_BYTES + said,
                down,
                encode_s=book.seconds(entry.codec, int(4 * said)),
                device_s=head.p50_s * rows,
                device_sure_s=head.p95_s * rows,
                service_s=whole_s * (1 - cut.head_share),
            )
            whole = offer.relative(cut.accuracy, cut.metric)
            accuracy = None if entry.accuracy is None or whole is None else min(entry.accuracy, whole)
            plans.append(Priced(Plan("split", entry.codec, cut.model), accuracy, costs, {cut.tensor: entry}))
    return plans


def codecs_of(cut: SplitOffer) -> list[CodecOffer]:
    """The codecs of a cut's features; a bare name stands for one as accurate as the cut itself."""
    return [
        CodecOffer(cut.tensor, each, cut.accuracy, cut.metric) if isinstance(each, str) else each for each in cut.codecs
    ]


def _least(entries: Iterable[CodecOffer]) -> float | None:
    """The accuracy of all together; None where that of one is not known."""
    least = 1.0
    for each in entries:
        if each.accuracy is None:
            return None
        least = min(least, each.accuracy)
    return least
