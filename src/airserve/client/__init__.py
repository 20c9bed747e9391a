"""Call an Airserve service: `Client` for threads, `AsyncClient` for event loops."""

from airserve.client.asynchronous import AsyncClient
from airserve.client.chat import ChatReply
from airserve.client.exchange import Timings
from airserve.client.link.answer import Alternative, Answer
from airserve.client.link.outcome import Prepared
from airserve.client.link.state import LinkView
from airserve.client.session.asynchronous import AsyncSession
from airserve.client.session.frame import FrameAnswer
from airserve.client.session.stats import SessionStats
from airserve.client.session.synchronous import Session
from airserve.client.streams import AsyncChatStream, ChatStream
from airserve.client.synchronous import Client

__all__ = [
    "Alternative",
    "Answer",
    "AsyncChatStream",
    "AsyncClient",
    "AsyncSession",
    "ChatReply",
    "ChatStream",
    "Client",
    "FrameAnswer",
    "LinkView",
    "Prepared",
    "Session",
    "SessionStats",
    "Timings",
]
