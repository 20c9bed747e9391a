"""`/protos/…`: the `.proto` files of the services over gRPC, for everybody; they tell nothing of what is served."""

from __future__ import annotations

from importlib.resources import files

from airserve.core.errors import AirserveError, NotFoundError
from airserve.protocols import open_inference as oip
from airserve.protocols import protos
from airserve.protocols.encoded import Encoded
from airserve.protocols.wrong_method import WrongMethodError
from airserve.server.http import Request


class ProtosApi:
    """One file for each service, read once."""

    prefix = "/protos"

    def __init__(self) -> None:
        folder = files(protos)
        self._files = {
            f"{self.prefix}/{file.name}": file.read_bytes() for file in folder.iterdir() if file.name.endswith(".proto")
        }

    async def handle(self, request: Request) -> Encoded:
        """A file, as text."""
        path = request.path.partition("?")[0]
        if path not in self._files:
            raise NotFoundError(f"Not Found; there are {', '.join(sorted(self._files))}")
        if request.method not in ("GET", "HEAD"):
            raise WrongMethodError("GET")
        return Encoded(200, [(b"content-type", b"text/plain; charset=utf-8")], [self._files[path]])

    def render_error(self, error: AirserveError) -> Encoded:
        """As on `/v2`."""
        return oip.render_error(error)
