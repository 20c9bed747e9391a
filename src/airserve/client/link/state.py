"""What a client has learnt of the networks that it was on, and what `client.link` shows of it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from airserve.client.link.corrections import Corrections
from airserve.client.link.estimate import LinkEstimate
from airserve.client.link.odds import Odds

_SUSPECTED_AFTER = 2
_SILENT_S = 0.15


@dataclass(slots=True)
class NetworkState:
    """One network: its link, how wrong predictions were, and whether the service can be reached over it now.

    `misses` counts calls in a row that were given up before anything came, `quiet_since` is when something last came,
    `tried_at` when the caller last asked for something, `attempted_at` when that last went over the link.
    """

    link: LinkEstimate = field(default_factory=LinkEstimate)
    corrections: Corrections = field(default_factory=Corrections)
    odds: Odds = field(default_factory=Odds)
    misses: int = 0
    unreachable: bool = False
    quiet_since: float | None = None
    tried_at: float = field(default_factory=time.monotonic)
    attempted_at: float = 0.0

    @property
    def is_suspect(self) -> bool:
        """Whether the link seems gone: a call should rather not wait for the cloud. Late answers are answers."""
        if self.unreachable or self.misses < _SUSPECTED_AFTER:
            return self.unreachable
        silent_s = self.idle_s(time.monotonic())
        return self.quiet_since is None or silent_s > max(_SILENT_S, 2 * self.link.spread * self.link.rtt_s)

    def idle_s(self, now: float) -> float:
        """Seconds of silence before `now`."""
        return 0.0 if self.quiet_since is None else max(0.0, now - self.quiet_since)

    def answered(self, now: float) -> None:
        """Something came back."""
        if self.is_suspect:
            self.odds.hope()
        self.misses, self.unreachable, self.quiet_since = 0, False, now


@dataclass(frozen=True, slots=True)
class LinkView:
    """The link as seen by the client's own calls; rates in bits a second, times in seconds.

    `sure_up` and `sure_down` are what calls are planned with. `spread` is how much longer than expected one call in
    twenty takes, `loss` the share that was late by a retransmission or more, or not answered. `wake_s` is what the
    radio takes after a silence of 9 s. `changes` counts hand-overs noticed. `error` is the mean relative error of the
    predictions so far (None before the first), `samples` how many transfers the estimate rests on.
    """

    network: str | None
    transport: str | None
    reachable: bool
    rtt_s: float
    up: float
    down: float
    sure_up: float
    sure_down: float
    spread: float
    loss: float
    wake_s: float
    changes: int
    samples: int
    error: float | None


def view(network: str | None, transport: str | None, state: NetworkState) -> LinkView:
    """A picture of the moment."""
    link = state.link
    return LinkView(
        network=network,
        transport=transport,
        reachable=network is not None and not state.is_suspect,
        rtt_s=link.rtt_s,
        up=8 * link.up_rate,
        down=8 * link.down_rate,
        sure_up=8 * link.sure_up_rate,
        sure_down=8 * link.sure_down_rate,
        spread=link.spread,
        loss=link.loss,
        wake_s=link.wake_s(10.0),
        changes=link.changes,
        samples=link.samples,
        error=state.corrections.error,
    )
