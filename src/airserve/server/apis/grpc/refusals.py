"""Refusals as gRPC statuses: our sentence is the status message, our stable code and `retry-after` are trailers."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Any, TypeVar, cast

import structlog
from connectrpc.code import Code
from connectrpc.errors import ConnectError
from connectrpc.request import RequestContext

from airserve.core.errors import AirserveError
from airserve.protocols.refusal import sentence_of
from airserve.server.apis.grpc.arrival import arrival
from airserve.server.calls import new_id

log = structlog.get_logger("airserve.server")

Request = TypeVar("Request")
Response = TypeVar("Response")
Context = RequestContext[Any, Any]

_CODE_OF = {code.name: code for code in Code} | {"CANCELLED": Code.CANCELED}


def incident(failure: Exception) -> AirserveError:
    """An unexpected failure as what its client may know of it; the rest is in the log, under the same id."""
    id_ = new_id()
    log.error("unexpected failure", incident=id_, path=arrival().path[:200], exc_info=failure)
    return AirserveError(f"an unexpected failure; report it with the id {id_}")


@contextmanager
def as_status(context: Context) -> Iterator[None]:
    """Whatever is raised inside leaves as a gRPC status."""
    try:
        yield
    except ConnectError:
        raise
    except AirserveError as error:
        raise _status(error, context) from None
    except Exception as failure:
        raise _status(incident(failure), context) from None


def _status(error: AirserveError, context: Context) -> ConnectError:
    context.response_trailers["airserve-code"] = error.code
    if error.retry_after is not None:
        context.response_trailers["retry-after"] = str(max(1, math.ceil(error.retry_after)))
    # A sentence may quote what is no Unicode; it is answered all the same.
    return ConnectError(_CODE_OF[error.grpc_status], sentence_of(error))


class Refusals:
    """Stands around every procedure."""

    async def intercept_unary(
        self, call_next: Callable[[Request, Context], Awaitable[Response]], request: Request, ctx: Context
    ) -> Response:
        """One request, one response."""
        with as_status(ctx):
            return await call_next(request, ctx)

    async def intercept_server_stream(
        self, call_next: Callable[[Request, Context], AsyncIterator[Response]], request: Request, ctx: Context
    ) -> AsyncIterator[Response]:
        """One request, many responses."""
        with as_status(ctx):
            async with aclosing(cast("AsyncGenerator[Response, None]", call_next(request, ctx))) as responses:
                async for response in responses:
                    yield response

    async def intercept_bidi_stream(
        self,
        call_next: Callable[[AsyncIterator[Request], Context], AsyncIterator[Response]],
        request: AsyncIterator[Request],
        ctx: Context,
    ) -> AsyncIterator[Response]:
        """Many of both."""
        with as_status(ctx):
            async with aclosing(cast("AsyncGenerator[Response, None]", call_next(request, ctx))) as responses:
                async for response in responses:
                    yield response
