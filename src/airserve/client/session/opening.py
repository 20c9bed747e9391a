"""From a client's settings to an engine."""

from __future__ import annotations

from airserve.client.calls import Settings
from airserve.client.link.caller import LinkCaller
from airserve.client.session.desk import Deliver
from airserve.client.session.device import DeviceSide
from airserve.client.session.engine import Engine
from airserve.client.session.line import Ways
from airserve.client.session.options import SessionAsk


def new_engine(settings: Settings, ways: Ways, ask: SessionAsk, caller: LinkCaller, deliver: Deliver) -> Engine:
    """The engine of a session that answers on the device where that was asked for."""
    device = DeviceSide(caller, ask) if ask.fallback == "device" else None
    return Engine(ask, settings, ways, device, deliver)
