"""What the front's TLS stands on, in files that it follows: certificate, key, and the authorities of clients.

Envoy reads them by its secret discovery service (SDS, extensions.transport_sockets.tls.v3.Secret) from files that are
moved into place. A new certificate holds for new connections, and those that are open go on: nothing is dropped. Each
turn names the files anew by a link, since Envoy looks at the content of files only where their names have changed.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from airserve.core.errors import InvalidInputError
from airserve.server.tls import certificate_builder

_SERVER, _CLIENTS = "server", "clients"
_SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105  # the name of a type


@dataclass(slots=True)
class TlsSecrets:
    """The secrets of one front, in a folder of its own that only its user can read."""

    folder: Path
    cert: Path
    key: Path
    turn: int = 0
    _seen: tuple[Any, ...] = ()
    _nobody: str = ""

    def follow(self, authorities: Iterable[str]) -> bool:
        """Write what has changed since the last time, in the files or in `authorities` (PEM); whether anything has.

        Raises `InvalidInputError` where certificate and key do not belong together, as amid a renewal: the front then
        goes on with what it has.
        """
        trusted = tuple(sorted(authorities))
        seen = (_stamp(self.cert), _stamp(self.key), trusted)
        if seen == self._seen:
            return False
        _check_pair(self.cert, self.key)
        self.turn += 1
        chain, key = (self._link(path, kind) for path, kind in ((self.cert, "pem"), (self.key, "key")))
        server = {"certificate_chain": {"filename": str(chain)}, "private_key": {"filename": str(key)}}
        self._nobody = self._nobody or _authority_of_nobody()
        clients = {"trusted_ca": {"inline_string": "\n".join(trusted) or self._nobody}}
        self._publish(_SERVER, {"tls_certificate": server})
        self._publish(_CLIENTS, {"validation_context": clients})
        self._seen = seen
        return True

    def context(self) -> dict[str, Any]:
        """The part of Envoy's CommonTlsContext that stands for these secrets; TLS 1.3 alone."""
        return {
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_3"},
            "tls_certificate_sds_secret_configs": [self._config(_SERVER)],
            "validation_context_sds_secret_config": self._config(_CLIENTS),
        }

    def _config(self, name: str) -> dict[str, Any]:
        source = {"path_config_source": {"path": str(self._file(name))}, "resource_api_version": "V3"}
        return {"name": name, "sds_config": source}

    def _file(self, name: str) -> Path:
        return self.folder / f"tls-{name}.json"

    def _link(self, path: Path, kind: str) -> Path:
        link = self.folder / f"tls-{self.turn}.{kind}"
        link.symlink_to(path.resolve())
        (self.folder / f"tls-{self.turn - 2}.{kind}").unlink(missing_ok=True)
        return link

    def _publish(self, name: str, secret: dict[str, Any]) -> None:
        path = self._file(name)
        document = {"version_info": str(self.turn), "resources": [{"@type": _SECRET, "name": name, **secret}]}
        temporary = path.with_suffix(".new")
        temporary.write_text(json.dumps(document))
        temporary.replace(path)


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be read: {error.strerror}") from None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _check_pair(cert: Path, key: Path) -> None:
    try:
        certificate = x509.load_pem_x509_certificates(cert.read_bytes())[0]
        private = serialization.load_pem_private_key(key.read_bytes(), None)
    except (OSError, ValueError, TypeError, IndexError) as error:
        raise InvalidInputError(f"{cert} and {key} are no certificate and key in PEM: {error}") from None
    if private.public_key() != certificate.public_key():
        raise InvalidInputError(f"{key} is not the key of the certificate in {cert}")


def _authority_of_nobody() -> str:
    """An authority whose key is forgotten at once: nobody's certificate is trusted until a tenant brings its own."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "no client is trusted yet")])
    certificate = (
        certificate_builder(name, name, key.public_key(), dt.datetime.now(dt.UTC), 1)
        .add_extension(x509.BasicConstraints(True, 0), critical=True)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
