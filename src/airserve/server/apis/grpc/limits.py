"""What the response of a procedure says of its tenant's limits: the headers of HTTP, as metadata."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from airserve.core.errors import AirserveError, BudgetExhaustedError
from airserve.server.apis.grpc.arrival import arrival
from airserve.server.apis.grpc.refusals import Context
from airserve.server.limit_notes import headers_for
from airserve.serving.admission import Admissions


@contextmanager
def limits_told(admissions: Admissions, context: Context) -> Iterator[None]:
    """In the leading metadata of a response, in the trailers of a refusal."""
    refused = True
    try:
        yield
        refused = False
    except AirserveError as error:
        if isinstance(error, BudgetExhaustedError):
            context.response_trailers["x-should-retry"] = "false"
        raise
    finally:
        standing = arrival().notes.standing
        if standing is not None:
            metadata = context.response_trailers if refused else context.response_headers
            for name, value in headers_for(admissions, standing):
                metadata[name.decode()] = value.decode()
