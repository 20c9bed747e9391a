"""The front: one port that speaks every protocol, by pyvoy (an ASGI app inside Envoy).

pyvoy opens a port for plaintext and another for TLS. Envoy can do both on one: its TLS inspector looks at the
first bytes of a connection and picks the filter chain. This class rewrites pyvoy's Envoy configuration so:

- TCP, TLS: HTTP/1.1 and HTTP/2 by ALPN; UDP: HTTP/3 (QUIC), announced to the others by Alt-Svc;
- TCP, plaintext: from loopback addresses only.

Envoy configuration API v3: config.listener.v3.FilterChainMatch, extensions.filters.listener.tls_inspector.v3.
"""

from __future__ import annotations

import copy
import socket
from pathlib import Path
from typing import Any

from pyvoy import PyvoyServer

from airserve.core.errors import OverloadedError

_LOOPBACK = ({"address_prefix": "127.0.0.0", "prefix_len": 8}, {"address_prefix": "::1", "prefix_len": 128})
_TLS_INSPECTOR = "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"

_HEADER_MUTATION = "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation"


class Front(PyvoyServer):
    """A pyvoy server whose plaintext, TLS and QUIC listeners share one port number."""

    def __init__(self, app: str, *, host: str, port: int, cert: Path, key: Path, env: dict[str, str]) -> None:
        super().__init__(
            app,
            address=host,
            port=port,
            tls_cert=cert,
            tls_key=key,
            lifespan=True,
            env=env,
            stdout=None,
            stderr=None,
            # One Envoy thread feeds the one Python loop; more would only take the cores that compute.
            additional_envoy_args=["--concurrency", "1"],
        )
        self._announced_port = port

    def get_envoy_config(self) -> dict[str, Any]:
        """pyvoy's configuration with a plaintext filter chain beside the TLS one, timeouts and limits set."""
        config: dict[str, Any] = super().get_envoy_config()
        listeners = {listener["name"]: listener for listener in config["static_resources"]["listeners"]}
        tcp, quic = listeners["listener"], listeners["listener_udp"]
        (tls_chain,) = tcp["filter_chains"]
        # A copy that shares nothing: what is set below for one must not appear in the other, nor in QUIC's.
        tls_chain = tcp["filter_chains"][0] = copy.deepcopy(tls_chain)
        plain_chain = copy.deepcopy(tls_chain)
        del plain_chain["transport_socket"]
        tls_chain["filter_chain_match"] = {"transport_protocol": "tls"}
        plain_chain["filter_chain_match"] = {
            "transport_protocol": "raw_buffer",
            "direct_source_prefix_ranges": list(_LOOPBACK),
        }
        tcp["listener_filters"] = [
            {"name": "envoy.filters.listener.tls_inspector", "typed_config": {"@type": _TLS_INSPECTOR}}
        ]
        tcp["filter_chains"] = [tls_chain, plain_chain]
        for chain in (tls_chain, plain_chain, *quic["filter_chains"]):
            _bound(chain["filters"][-1]["typed_config"])
        tls_chain["filters"][-1]["typed_config"]["http_filters"].insert(0, _alt_svc(self._announced_port))
        return config


def _alt_svc(port: int) -> dict[str, Any]:
    """A filter that tells clients of HTTP/1.1 and HTTP/2 that HTTP/3 is on the same port (RFC 7838)."""
    header = {"header": {"key": "alt-svc", "value": f'h3=":{port}"; ma=86400'}}
    return {
        "name": "envoy.filters.http.header_mutation",
        "typed_config": {"@type": _HEADER_MUTATION, "mutations": {"response_mutations": [{"append": header}]}},
    }


def _bound(http: dict[str, Any]) -> None:
    """Slow or endless peers are dropped: headers within 10 s, a silent stream after 5 minutes."""
    http["request_headers_timeout"] = "10s"
    http["stream_idle_timeout"] = "300s"


def free_port(host: str) -> int:
    """A port that is free for TCP and UDP at this moment."""
    for _ in range(50):
        with socket.socket(_family(host), socket.SOCK_STREAM) as tcp:
            tcp.bind((host, 0))
            port: int = tcp.getsockname()[1]
            if is_free(host, port, socket.SOCK_DGRAM):
                return port
    raise OverloadedError("no port is free for both TCP and UDP; name one with --port")


def is_free(host: str, port: int, kind: socket.SocketKind) -> bool:
    """Whether `port` can be bound now, for TCP (SOCK_STREAM) or UDP (SOCK_DGRAM)."""
    with socket.socket(_family(host), kind) as probe:
        if kind is socket.SOCK_STREAM:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
