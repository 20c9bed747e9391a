"""What the service offers for a session's model."""

from __future__ import annotations

from airserve.client.calls import Settings
from airserve.client.exchange import raise_for
from airserve.client.link.offer import Offer, offer_request, parse_offer
from airserve.client.session.line import Line
from airserve.client.session.options import SessionAsk
from airserve.core.errors import NotFoundError


async def ask_offer(line: Line, settings: Settings, ask: SessionAsk, timeout_s: float) -> Offer:
    """The offer. Raises what is wrong with the key, `UnreachableError` and `DeadlineExceededError`."""
    request = offer_request(ask.model, ask.version)
    response = await line.send(request, settings.headers(request, None), timeout_s)
    try:
        raise_for(response)
    except NotFoundError:
        # A service of before, or no such model: the first frame will tell what is wrong.
        return Offer(ask.model)
    return parse_offer(response.body)
