"""Call an Airserve service: `Client` for threads, `AsyncClient` for event loops."""

from airserve.client.asynchronous import AsyncClient
from airserve.client.chat import ChatReply
from airserve.client.exchange import Timings
from airserve.client.streams import AsyncChatStream, ChatStream
from airserve.client.synchronous import Client

__all__ = ["AsyncChatStream", "AsyncClient", "ChatReply", "ChatStream", "Client", "Timings"]
