"""Who asks, and what every handler needs: the database, the time, and the tenant that a path means."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from fastapi import Depends, Request, Response

from airserve.accounts import Principal
from airserve.accounts.roles import Action, Role, require
from airserve.accounts.tenant import Tenant, find_tenant
from airserve.core.errors import NotFoundError
from airserve.protocols import headers as wire
from airserve.server.apis.mounted import ASKED
from airserve.server.http import Request as HttpRequest
from airserve.server.runtime import Runtime
from airserve.storage import Database

MY_OWN = "me"


@dataclass(frozen=True, slots=True)
class Caller:
    """An operator or a member of a tenant. `now_ns` is when the request came."""

    principal: Principal
    runtime: Runtime
    now_ns: int

    @property
    def database(self) -> Database:
        """Where everything is written."""
        return self.runtime.database

    @property
    def actor(self) -> str:
        """As the log of who did what names the caller."""
        return self.principal.actor

    def may(self, action: Action) -> None:
        """Refuse what only an operator may do to the whole service."""
        require(self.principal, action)

    def tenant(self, given: str, action: Action) -> Tenant:
        """The tenant of a path, where the caller may do `action` in it; another's is as if it were not there."""
        own = self.principal.tenant_id
        if self.principal.role is not Role.OPERATOR:
            if given not in (MY_OWN, own):
                # The role is told first: it says nothing of the tenant that was asked for.
                require(self.principal, action, own)
                raise NotFoundError("there is no such tenant")
            given = own or ""
        elif given == MY_OWN:
            raise NotFoundError("an operator is no tenant's; name one instead of 'me'")
        with self.database.read() as connection:
            found = find_tenant(connection, given)
        require(self.principal, action, found.id)
        return found


def caller(request: Request) -> Caller:
    """The caller behind the request's key. What the key's role allows is asked where it matters."""
    runtime: Runtime = request.app.state.runtime
    asked: HttpRequest = request.scope["extensions"][ASKED]
    principal = runtime.gate.known(wire.bearer_key(asked.headers), asked.client, asked.certificate)
    return Caller(principal, runtime, time.time_ns())


Asked = Annotated[Caller, Depends(caller)]


def reply(value: Any, status: int = 200) -> Response:
    """A value of ours as JSON: structs, dataclasses, lists of them."""
    return Response(msgspec.json.encode(value), status, media_type="application/json")
