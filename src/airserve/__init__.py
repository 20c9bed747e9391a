"""AI as a service over 5G: train, package, publish, serve, meter and invoice models from one tool.

`airserve.Client` and `airserve.AsyncClient` call a service; they load on first use, so that importing this package
costs nothing.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airserve.client import AsyncClient, Client

__version__ = version("airserve")
__all__ = ["AsyncClient", "Client", "__version__"]


def __getattr__(name: str) -> Any:
    if name in ("AsyncClient", "Client"):
        import airserve.client

        return getattr(airserve.client, name)
    raise AttributeError(f"module 'airserve' has no attribute '{name}'")
