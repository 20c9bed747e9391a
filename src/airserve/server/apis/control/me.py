"""Who the presented key is."""

from __future__ import annotations

from fastapi import APIRouter, Response

from airserve.accounts.roles import ALLOWED
from airserve.server.apis.control.caller import Asked, reply

router = APIRouter(tags=["me"])


@router.get("/me")
def me(asked: Asked) -> Response:
    """The role and tenant behind the key, and what the role allows."""
    principal = asked.principal
    actions = sorted(action.value for action in ALLOWED[principal.role]) if principal.role else []
    return reply(
        {
            "actor": principal.actor,
            "role": principal.role.value if principal.role else None,
            "tenant_id": principal.tenant_id,
            "key_id": principal.credential_id,
            "allowed": actions,
        }
    )
