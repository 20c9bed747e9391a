"""A tenant's own certificate authorities: its keys then need a certificate that one of them issued.

So a key that was stolen is of no use without a device's private key, which never leaves the device.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from hashlib import sha256

import sqlalchemy as sa
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from airserve.accounts.tenant import find_tenant, open_tenant
from airserve.core.errors import ConflictError, InvalidInputError, NotFoundError
from airserve.storage import Database, tables
from airserve.storage.audit_log import record

MAX_OF_A_TENANT = 10


@dataclass(frozen=True, slots=True)
class ClientAuthority:
    """One authority; `id` is the SHA-256 of its certificate's DER form, in hex."""

    id: str
    tenant_id: str
    subject: str
    pem: str
    expires_ns: int
    created_ns: int


def add_authority(
    database: Database, tenant: str, pem: bytes, *, now_ns: int, actor: str | None = None
) -> ClientAuthority:
    """Trust an authority (one certificate, PEM) for the devices of `tenant` (name or id)."""
    certificate = _authority(pem, now_ns)
    der = certificate.public_bytes(serialization.Encoding.DER)
    columns = tables.client_authorities.c
    with database.write() as connection:
        owner = open_tenant(connection, tenant)
        added = ClientAuthority(
            id=sha256(der).hexdigest(),
            tenant_id=owner.id,
            subject=certificate.subject.rfc4514_string()[:200],
            pem=certificate.public_bytes(serialization.Encoding.PEM).decode(),
            expires_ns=int(certificate.not_valid_after_utc.timestamp() * 1e9),
            created_ns=now_ns,
        )
        if connection.execute(sa.select(columns.id).where(columns.id == added.id)).first():
            raise ConflictError("this authority is trusted already, for this tenant or another: each has its own")
        if len(_authorities(connection, owner.id)) >= MAX_OF_A_TENANT:
            raise ConflictError(f"a tenant has at most {MAX_OF_A_TENANT} authorities; remove one that is out of use")
        connection.execute(
            tables.client_authorities.insert().values({name: getattr(added, name) for name in added.__slots__})
        )
        record(
            connection, actor=actor, action="authority.add", object_id=added.id, after=added, now_ns=now_ns,
            tenant_id=owner.id,
        )  # fmt: skip
    return added


def remove_authority(
    database: Database, tenant: str, id: str, *, now_ns: int, actor: str | None = None
) -> ClientAuthority:
    """Trust it no more; `id` may be shortened as long as it is one's. Open connections are refused within a second."""
    with database.write() as connection:
        owner = open_tenant(connection, tenant)
        found = [each for each in _authorities(connection, owner.id) if each.id.startswith(id.lower())]
        if len(found) != 1 or not id:
            raise NotFoundError(f"tenant '{owner.name}' has no authority '{id[:64]}'; see airserve authorities list")
        connection.execute(tables.client_authorities.delete().where(tables.client_authorities.c.id == found[0].id))
        record(
            connection, actor=actor, action="authority.remove", object_id=found[0].id, before=found[0],
            now_ns=now_ns, tenant_id=owner.id,
        )  # fmt: skip
    return found[0]


def list_authorities(database: Database, tenant: str | None = None) -> list[ClientAuthority]:
    """The authorities of all tenants, or of one, oldest first."""
    with database.read() as connection:
        return _authorities(connection, None if tenant is None else find_tenant(connection, tenant).id)


def _authorities(connection: sa.Connection, tenant_id: str | None) -> list[ClientAuthority]:
    columns = tables.client_authorities.c
    query = sa.select(tables.client_authorities).order_by(columns.created_ns, columns.id)
    if tenant_id is not None:
        query = query.where(columns.tenant_id == tenant_id)
    return [ClientAuthority(*row) for row in connection.execute(query)]


def _authority(pem: bytes, now_ns: int) -> x509.Certificate:
    try:
        certificates = x509.load_pem_x509_certificates(pem)
    except ValueError:
        certificates = []
    if len(certificates) != 1:
        raise InvalidInputError("an authority is one certificate in PEM, from BEGIN CERTIFICATE to END CERTIFICATE")
    (certificate,) = certificates
    try:
        is_authority = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        is_authority = False
    if not is_authority:
        raise InvalidInputError("this certificate is no authority (basicConstraints CA:TRUE, RFC 5280 §4.2.1.9)")
    if certificate.not_valid_after_utc <= dt.datetime.fromtimestamp(now_ns / 1e9, dt.UTC):
        raise InvalidInputError(f"this certificate expired on {certificate.not_valid_after_utc:%Y-%m-%d}; renew it")
    return certificate
