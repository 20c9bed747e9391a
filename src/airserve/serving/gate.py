"""Who may pass: key -> tenant -> address, route, model. Everything is denied that is not allowed here."""

from __future__ import annotations

import time
from collections.abc import Iterable

from airserve.accounts import Directory, Principal
from airserve.accounts.client_certificate import ClientCertificate
from airserve.accounts.last_used import LastUsed
from airserve.accounts.roles import Role
from airserve.accounts.routes import Route
from airserve.accounts.scope import address_of
from airserve.core.errors import ForbiddenError, MissingKeyError


class Gate:
    """Authenticates against the current directory, an immutable snapshot that is replaced when keys change.

    `client` is the IP address of who calls, `certificate` what came with the connection, None where
    nothing did. A key that is confined to something that is not told opens nothing.
    """

    def __init__(self, directory: Directory) -> None:
        self.directory = directory
        self.last_used = LastUsed()

    def tenant(
        self,
        key: str,
        model: str | None = None,
        route: Route | None = None,
        client: str = "",
        certificate: ClientCertificate | None = None,
    ) -> Principal:
        """The principal behind a service's key; refuses other kinds of keys and what is outside the key's scope."""
        principal = self.known(key, client, certificate)
        if principal.role is not None:
            whose = "an operator" if principal.role is Role.OPERATOR else "a member"
            raise ForbiddenError(f"{whose}'s key opens no inference route; use a service key, as_live_…")
        if principal.routes is not None and route not in principal.routes:
            raise ForbiddenError(f"this key does not open '{route}'; it opens {', '.join(sorted(principal.routes))}")
        if model is not None:
            self.opens(principal, model)
        return principal

    def known(self, key: str, client: str = "", certificate: ClientCertificate | None = None) -> Principal:
        """The principal behind any key, from an address and with a certificate that it may be used with."""
        now_ns = time.time_ns()
        principal = self.directory.authenticate(key, now_ns)
        if principal.addresses is not None:
            _check_address(principal, client)
        if principal.cert_sha256 is not None or principal.authorities:
            _check_certificate(principal, certificate)
        self.last_used.note(principal.credential_id, now_ns)
        return principal

    @staticmethod
    def opens(principal: Principal, model: str) -> None:
        """Refuse a model outside the scope of the key, where a protocol names it only after the key was seen."""
        if principal.models is not None and model.partition("@")[0] not in principal.models:
            raise ForbiddenError(f"this key does not open the model '{model}'; ask its owner for a key that does")

    def opened(
        self, key: str, models: Iterable[str], client: str = "", certificate: ClientCertificate | None = None
    ) -> list[str]:
        """Those of `models` that a key opens; operators and members read them all."""
        scope = self.reader(key, None, client, certificate).models
        return [model for model in models if scope is None or model in scope]

    def operator(self, key: str, client: str = "", certificate: ClientCertificate | None = None) -> Principal:
        """The operator behind `key`; a tenant's key is refused."""
        principal = self.known(key, client, certificate)
        if principal.tenant_id is not None:
            raise ForbiddenError("this route is the operator's; a tenant's key does not open it")
        return principal

    def reader(
        self, key: str, model: str | None = None, client: str = "", certificate: ClientCertificate | None = None
    ) -> Principal:
        """Let an operator, a member, or a service whose key opens `model`, read what is served."""
        principal = self.known(key, client, certificate)
        if principal.role is None and principal.routes is not None and "read" not in principal.routes:
            raise ForbiddenError("this key does not open 'read': what is served it cannot ask")
        if model is not None:
            self.opens(principal, model)
        return principal


def _check_address(principal: Principal, client: str) -> None:
    address = address_of(client)
    if address is None or not any(address in network for network in principal.addresses or ()):
        raise ForbiddenError(f"this API key may not be used from {client or 'an unknown address'}")


def _check_certificate(principal: Principal, certificate: ClientCertificate | None) -> None:
    """The certificate that the key is bound to, and one of an authority of the tenant, where it has any."""
    if certificate is None:
        raise MissingKeyError("this API key needs a client certificate, and none came with the connection")
    if principal.cert_sha256 not in (None, certificate.sha256):
        raise MissingKeyError("this API key is bound to another client certificate than the one that came with it")
    if principal.authorities and not any(map(certificate.is_issued_by, principal.authorities)):
        raise MissingKeyError("this API key needs a client certificate of its tenant's own authority")
