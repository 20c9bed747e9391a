"""The front: one port that speaks every protocol, by Envoy and pyvoy (an ASGI app inside Envoy).

pyvoy opens a port for plaintext and another for TLS, and passes every request through Envoy's HTTP stack. Envoy can
do both on one port: it looks at the first bytes of a connection and picks the filter chain. And it can pass a
connection on as bytes, to `airserve.server.http1`, which answers HTTP/1.1 at a third of the processor time. So:

- TCP, TLS: HTTP/2 by ALPN, else HTTP/1.1; TCP, plaintext from loopback addresses only: HTTP/2 by its preface, else
  HTTP/1.1;
- UDP: HTTP/3 (QUIC), announced to clients of TLS by Alt-Svc.

Envoy configuration API v3: config.listener.v3.FilterChainMatch, extensions.filters.listener.tls_inspector.v3,
extensions.filters.listener.http_inspector.v3, extensions.filters.network.tcp_proxy.v3.
"""

from __future__ import annotations

import copy
import socket
from pathlib import Path
from typing import Any

from pyvoy import PyvoyServer

from airserve.core.errors import OverloadedError
from airserve.server.sockets import Sockets, alt_svc

_LOOPBACK = ({"address_prefix": "127.0.0.0", "prefix_len": 8}, {"address_prefix": "::1", "prefix_len": 128})
_MAX_CONNECTIONS = 1 << 20
_TYPES = "type.googleapis.com/envoy.extensions.filters"


class Front(PyvoyServer):
    """A pyvoy server whose plaintext, TLS and QUIC listeners share one port number."""

    def __init__(
        self, app: str, *, host: str, port: int, cert: Path, key: Path, sockets: Sockets, env: dict[str, str]
    ) -> None:
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
        self._sockets = sockets

    def get_envoy_config(self) -> dict[str, Any]:
        """pyvoy's configuration with one filter chain for each kind of connection, timeouts and limits set."""
        config: dict[str, Any] = super().get_envoy_config()
        resources = config["static_resources"]
        listeners = {listener["name"]: listener for listener in resources["listeners"]}
        tcp, quic = listeners["listener"], listeners["listener_udp"]
        (given,) = tcp["filter_chains"]
        http, tls = given["filters"], given["transport_socket"]
        tcp["listener_filters"] = [
            _filter("listener.tls_inspector", "TlsInspector"),
            _filter("listener.http_inspector", "HttpInspector"),
        ]
        plain = {"transport_protocol": "raw_buffer", "direct_source_prefix_ranges": list(_LOOPBACK)}
        # Copies that share nothing: what is set for one chain must not appear in another, nor in QUIC's.
        tcp["filter_chains"] = [
            _chain(
                copy.deepcopy(http), {"transport_protocol": "tls", "application_protocols": ["h2"]}, _tls(tls, "h2")
            ),
            _chain(_pass_on("http1_tls"), {"transport_protocol": "tls"}, _tls(tls, "http/1.1")),
            _chain(copy.deepcopy(http), {**plain, "application_protocols": ["h2c"]}),
            _chain(_pass_on("http1"), plain),
        ]
        h2, _, h2c, _ = tcp["filter_chains"]
        for chain in (h2, h2c, *quic["filter_chains"]):
            _bound(chain["filters"][-1]["typed_config"])
        h2["filters"][-1]["typed_config"]["http_filters"].insert(0, _announce(self._announced_port))
        resources["clusters"] = [
            *resources.get("clusters", []),
            _cluster("http1", self._sockets.plain),
            _cluster("http1_tls", self._sockets.tls),
        ]
        return config


def _announce(port: int) -> dict[str, Any]:
    header = {"header": {"key": "alt-svc", "value": alt_svc(port)}}
    return _filter("http.header_mutation", "HeaderMutation", mutations={"response_mutations": [{"append": header}]})


def _filter(name: str, type_name: str, **options: Any) -> dict[str, Any]:
    return {
        "name": f"envoy.filters.{name}",
        "typed_config": {"@type": f"{_TYPES}.{name}.v3.{type_name}", **options},
    }


def _chain(filters: Any, match: dict[str, Any], transport_socket: dict[str, Any] | None = None) -> dict[str, Any]:
    chain = {"filters": filters, "filter_chain_match": match}
    return chain if transport_socket is None else {**chain, "transport_socket": transport_socket}


def _tls(transport_socket: dict[str, Any], protocol: str) -> dict[str, Any]:
    """The TLS side of a chain that speaks one protocol."""
    socket_for_one = copy.deepcopy(transport_socket)
    socket_for_one["typed_config"]["common_tls_context"]["alpn_protocols"] = [protocol]
    return socket_for_one


def _pass_on(cluster: str) -> list[dict[str, Any]]:
    """A connection's bytes, to and fro."""
    return [_filter("network.tcp_proxy", "TcpProxy", stat_prefix=cluster, cluster=cluster)]


def _cluster(name: str, path: Path) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": {"pipe": {"path": str(path)}}}}
    load = {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]}
    # The default of 1,024 connections would refuse the next phone.
    thresholds = [{"max_connections": _MAX_CONNECTIONS, "max_pending_requests": _MAX_CONNECTIONS}]
    return {
        "name": name,
        "type": "STATIC",
        "load_assignment": load,
        "circuit_breakers": {"thresholds": thresholds},
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
