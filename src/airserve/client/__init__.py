"""Call an Airserve service: `Client` for threads, `AsyncClient` for event loops."""

from airserve.client.asynchronous import AsyncClient
from airserve.client.exchange import Timings
from airserve.client.synchronous import Client

__all__ = ["AsyncClient", "Client", "Timings"]
