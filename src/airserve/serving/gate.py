"""Who may pass: key -> tenant -> model. Everything is denied that is not allowed here."""

from __future__ import annotations

import time
from collections.abc import Iterable

from airserve.accounts import Directory, Principal
from airserve.core.errors import ForbiddenError


class Gate:
    """Authenticates against the current directory, an immutable snapshot that is replaced when keys change."""

    def __init__(self, directory: Directory) -> None:
        self.directory = directory

    def tenant(self, key: str, model: str | None = None) -> Principal:
        """The tenant's principal behind `key`; refuses operator keys and models outside the key's scope."""
        principal = self.directory.authenticate(key, time.time_ns())
        if principal.tenant_id is None:
            raise ForbiddenError("an operator key opens no inference route; use a tenant's key")
        if model is not None:
            self.opens(principal, model)
        return principal

    @staticmethod
    def opens(principal: Principal, model: str) -> None:
        """Refuse a model outside the scope of the key, where a protocol names it only after the key was seen."""
        if principal.models is not None and model.partition("@")[0] not in principal.models:
            raise ForbiddenError(f"this key does not open the model '{model}'; ask its owner for a key that does")

    def opened(self, key: str, models: Iterable[str]) -> list[str]:
        """Those of `models` that a key opens; an operator reads them all."""
        scope = self.directory.authenticate(key, time.time_ns()).models
        return [model for model in models if scope is None or model in scope]

    def operator(self, key: str) -> Principal:
        """The operator behind `key`; a tenant's key is refused."""
        principal = self.directory.authenticate(key, time.time_ns())
        if principal.tenant_id is not None:
            raise ForbiddenError("this route is the operator's; a tenant's key does not open it")
        return principal

    def reader(self, key: str, model: str | None = None) -> None:
        """Let an operator, or a tenant whose key opens `model`, read what is served."""
        if self.directory.authenticate(key, time.time_ns()).tenant_id is not None:
            self.tenant(key, model)
