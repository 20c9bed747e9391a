"""Who is behind a key: what the gate hands to everything after it."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from airserve.accounts.account import UNLIMITED, Account
from airserve.accounts.payload_logging import PayloadLogging
from airserve.accounts.roles import Role
from airserve.accounts.scope import Scope


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls. `tenant_id` None is an operator; None in `models`, `routes` or `addresses` is no restriction.

    `key_id` is what usage and budgets are counted under: it stays when a key is replaced. `credential_id` is the id of
    the key that was presented. `role` is None for a service key, the only kind that opens inference routes. `account`
    is what the tenant's plan and budgets allow. `cert_sha256` (hex) is the client certificate that must come with the
    key, `authorities` (DER) are the tenant's: one of them must have issued that.
    `payload_logging` is None where the project's payloads are not kept.
    """

    key_id: str
    tenant_id: str | None
    models: frozenset[str] | None
    project_id: str = ""
    routes: frozenset[str] | None = None
    addresses: tuple[IPv4Network | IPv6Network, ...] | None = None
    account: Account = UNLIMITED
    role: Role | None = None
    member: str = ""
    credential_id: str = ""
    cert_sha256: str | None = None
    authorities: tuple[bytes, ...] = ()
    payload_logging: PayloadLogging | None = None

    @property
    def scope(self) -> Scope:
        """What the key opens."""
        return Scope(self.models, self.routes, self.addresses)

    @property
    def actor(self) -> str:
        """Its name in the log of who did what."""
        if self.role is Role.OPERATOR:
            return f"operator:{self.credential_id}"
        return f"key:{self.credential_id}" if self.role is None else f"member:{self.member}"
