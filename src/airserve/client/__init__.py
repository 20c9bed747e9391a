"""Call an Airserve service: `Client` for threads, `AsyncClient` for event loops."""

from airserve.client.asynchronous import AsyncClient
from airserve.client.chat import ChatReply
from airserve.client.exchange import Timings
from airserve.client.link.answer import Alternative, Answer
from airserve.client.link.outcome import Prepared
from airserve.client.link.state import LinkView
from airserve.client.streams import AsyncChatStream, ChatStream
from airserve.client.synchronous import Client

__all__ = [
    "Alternative",
    "Answer",
    "AsyncChatStream",
    "AsyncClient",
    "ChatReply",
    "ChatStream",
    "Client",
    "LinkView",
    "Prepared",
    "Timings",
]
