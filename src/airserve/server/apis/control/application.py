"""The FastAPI application of `/control`: its routers, and refusals as problem details."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from airserve import __version__
from airserve.core.errors import (
    AirserveError,
    InvalidInputError,
    MethodNotAllowedError,
    NotFoundError,
    UnsupportedEncodingError,
)
from airserve.protocols import problem_details
from airserve.server.apis.control import (
    budgets,
    invoices,
    keys,
    log,
    me,
    members,
    models,
    plans,
    projects,
    rollouts,
    tenants,
    usage,
    webhooks,
)
from airserve.server.apis.mounted import Application

if TYPE_CHECKING:
    from airserve.server.runtime import Runtime

_ROOMS = (me, tenants, projects, members, keys, plans, budgets, usage, invoices, webhooks, log, models, rollouts)
_DESCRIPTION = (
    "What `airserve` does on the command line, for operators (`as_adm_…`) and for members of a tenant (`as_usr_…`), "
    "each as far as its role allows. `{tenant}` is an id, a name for operators, or `me`. Money is in nano-units, 1e-9 "
    "of the currency; times are nanoseconds since 1970 in UTC."
)


def control_application(runtime: Runtime) -> Application:
    """The application over `runtime`'s database."""
    app = FastAPI(
        title="Airserve control",
        version=__version__,
        description=_DESCRIPTION,
        openapi_url="/control/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    app.state.runtime = runtime
    for room in _ROOMS:
        app.include_router(room.router, prefix="/control")
    app.add_exception_handler(AirserveError, _refused)
    app.add_exception_handler(RequestValidationError, _misread)
    app.add_exception_handler(HTTPException, _no_route)
    return app


async def _refused(request: Request, error: Any) -> Response:
    return _response(error)


async def _misread(request: Request, error: Any) -> Response:
    return _response(InvalidInputError("; ".join(_problem(each) for each in error.errors()[:5])))


def _problem(found: Any) -> str:
    if found["type"] == "json_invalid":
        return f"the body is no JSON: {found.get('ctx', {}).get('error', found['msg'])}"
    return f"{'.'.join(map(str, found['loc']))}: {found['msg']}"


async def _no_route(request: Request, error: Any) -> Response:
    if error.status_code == 405:
        return _response(MethodNotAllowedError(f"{request.method} is not for this route"), error.headers)
    if error.status_code == 404:
        return _response(NotFoundError("there is no such route; see /control/openapi.json"))
    return _response(UnsupportedEncodingError("the body is no JSON that can be read"))


def _response(error: AirserveError, more: Any = None) -> Response:
    encoded = problem_details.render_error(error)
    headers = {name.decode(): value.decode() for name, value in encoded.headers} | dict(more or {})
    return Response(bytes(encoded.chunks[0]), encoded.status, headers)
