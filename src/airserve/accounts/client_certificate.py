"""The certificate that a client came with over mutual TLS (RFC 8446 §4.4.2), and which authority issued it.

The front has checked that its owner holds the key and that some tenant's authority stands behind it; whose, is asked
here, of each key that is used over the connection.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from urllib.parse import unquote

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization

_REMEMBERED = 4096


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """One certificate; `sha256` is the fingerprint of its DER form, in hex."""

    sha256: str
    der: bytes

    def is_issued_by(self, authority: bytes) -> bool:
        """Whether this authority (a certificate, DER) signed it."""
        return _is_issued(self.der, authority)


@lru_cache(_REMEMBERED)
def certificate_of(told: str) -> ClientCertificate | None:
    """The certificate that the front tells of, as percent-encoded PEM; None where it tells of none."""
    if "CERTIFICATE" not in told:
        return None
    der = x509.load_pem_x509_certificate(unquote(told).encode()).public_bytes(serialization.Encoding.DER)
    return ClientCertificate(sha256(der).hexdigest(), der)


@lru_cache(_REMEMBERED)
def _is_issued(der: bytes, authority: bytes) -> bool:
    try:
        x509.load_der_x509_certificate(der).verify_directly_issued_by(x509.load_der_x509_certificate(authority))
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
