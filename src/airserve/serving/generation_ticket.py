"""A generation on its way: what waits in the queue and runs in a slot, and what is recorded of it in the end."""

from __future__ import annotations

from dataclasses import dataclass, field

from airserve.core.call import Call
from airserve.core.errors import AirserveError
from airserve.core.generation import Generation, TokenCounts
from airserve.metering.event import Outcome, UsageEvent
from airserve.metering.prices import Price, amount_nano, partial_amount_nano
from airserve.serving.admission import Admission
from airserve.serving.meter import event_of
from airserve.serving.stream import PieceStream, Stop

_MOST_TOKENS = 1 << 30


@dataclass(slots=True, eq=False)
class GenerationTicket:
    """A generation that was admitted; `price` and `admitted_ns` (UTC) are pinned here once."""

    call: Call
    generation: Generation
    price: Price
    admitted_ns: int
    enqueued_ns: int
    stream: PieceStream
    admission: Admission | None = None
    priority: int = 0
    share: int = 1
    streamed: bool = True
    tenant_id: str = field(init=False)
    deadline_ns: int = field(init=False)
    rows: int = 1
    group: None = None

    def __post_init__(self) -> None:
        self.tenant_id = self.call.tenant_id
        self.deadline_ns = self.call.deadline_ns

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits for the answer any more."""
        return self.stream.stopped is Stop.GONE


@dataclass(frozen=True, slots=True)
class Ended:
    """How a generation ended, or how far it is, and what it used. `text_bytes` is the size of the answer in UTF-8."""

    ticket: GenerationTicket
    outcome: Outcome
    error: AirserveError | None
    tokens: TokenCounts = field(default_factory=TokenCounts)
    text_bytes: int = 0
    queue_ns: int = 0
    compute_ns: int = 0

    def event(self, version: int) -> UsageEvent:
        """What is recorded: one that was answered costs its whole price, one that ended early its tokens alone."""
        price, tokens = self.ticket.price, _plausible(self.tokens)
        amount = 0
        if self.outcome is Outcome.OK:
            amount = amount_nano(price, self.compute_ns, tokens, self.ticket.call.bytes_in + self.text_bytes)
        elif self.outcome in (Outcome.PARTIAL, Outcome.PROGRESS):
            amount = partial_amount_nano(price, tokens)
        return event_of(
            self.ticket,
            version,
            self.outcome,
            bytes_out=self.text_bytes,
            compute_ns=self.compute_ns,
            amount_nano=amount,
            tokens=tokens,
        )


def _plausible(tokens: TokenCounts) -> TokenCounts:
    """The counts as the ledger takes them: another server may claim anything."""
    prompt, answer = (min(max(0, count), _MOST_TOKENS) for count in (tokens.input, tokens.output))
    return TokenCounts(prompt, min(max(0, tokens.cached), prompt), answer)
