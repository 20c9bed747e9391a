"""The front: one port that speaks every protocol, by Envoy and pyvoy (an ASGI app inside Envoy).

pyvoy opens a port for plaintext and another for TLS, and passes every request through Envoy's HTTP stack. Envoy can
do both on one port: it looks at the first bytes of a connection and picks the filter chain. And it can pass a
connection on as bytes, to `airserve.server.http1`, which answers HTTP/1.1 at a third of the processor time. So:

- TCP, TLS: HTTP/2 by ALPN, else HTTP/1.1; TCP, plaintext from this machine only (loopback, or the address listened
  on): HTTP/2 by its preface, else HTTP/1.1;
- UDP: HTTP/3 (QUIC), announced to clients of TLS by Alt-Svc.

TLS is 1.3. A client may come with a certificate of a tenant's authority; what it is, the application is told.

Envoy configuration API v3: config.listener.v3.FilterChainMatch, extensions.filters.listener.tls_inspector.v3,
extensions.filters.listener.http_inspector.v3, extensions.filters.network.tcp_proxy.v3.
"""

from __future__ import annotations

import copy
import ipaddress
import socket
from pathlib import Path
from typing import Any

from pyvoy import PyvoyServer

from airserve.core.errors import OverloadedError
from airserve.server.front_limits import bound_cluster, bound_http, bound_listener, flood_limits, overload_manager
from airserve.server.proxy_protocol import CERTIFICATE_FIELD
from airserve.server.sockets import Sockets, alt_svc
from airserve.server.tls_secrets import TlsSecrets

_LOOPBACK = ({"address_prefix": "127.0.0.0", "prefix_len": 8}, {"address_prefix": "::1", "prefix_len": 128})
_MAX_CONNECTIONS = 1 << 20
_TYPES = "type.googleapis.com/envoy.extensions.filters"
_EARLY_BYTES = 64 << 10
_TELL_CERTIFICATE = {
    # Once the handshake is over it is known who the client is; what came early waits.
    "upstream_connect_mode": "ON_DOWNSTREAM_TLS_HANDSHAKE",
    "max_early_data_bytes": _EARLY_BYTES,
    "proxy_protocol_tlvs": [
        {
            "type": CERTIFICATE_FIELD,
            "format_string": {"text_format_source": {"inline_string": "%DOWNSTREAM_PEER_CERT%"}},
        }
    ],
}


class Front(PyvoyServer):
    """A pyvoy server whose plaintext, TLS and QUIC listeners share one port number."""

    def __init__(
        self, app: str, *, host: str, port: int, secrets: TlsSecrets, sockets: Sockets, env: dict[str, str]
    ) -> None:
        super().__init__(
            app,
            address=host,
            port=port,
            tls_cert=secrets.cert,
            tls_key=secrets.key,
            lifespan=True,
            env=env,
            stdout=None,
            stderr=None,
            # One Envoy thread feeds the one Python loop; more would only take the cores that compute.
            additional_envoy_args=["--concurrency", "1"],
        )
        self._host = host
        self._announced_port = port
        self._sockets = sockets
        self._secrets = secrets

    def get_envoy_config(self) -> dict[str, Any]:
        """pyvoy's configuration with one filter chain for each kind of connection, timeouts and limits set."""
        config: dict[str, Any] = super().get_envoy_config()
        resources = config["static_resources"]
        listeners = {listener["name"]: listener for listener in resources["listeners"]}
        tcp, quic = listeners["listener"], listeners["listener_udp"]
        (given,) = tcp["filter_chains"]
        http, tls = given["filters"], given["transport_socket"]
        tls["typed_config"]["common_tls_context"] = self._secrets.context()
        tcp["listener_filters"] = [
            _filter("listener.tls_inspector", "TlsInspector"),
            _filter("listener.http_inspector", "HttpInspector"),
        ]
        plain = {"transport_protocol": "raw_buffer", "direct_source_prefix_ranges": _own_addresses(self._host)}
        # Copies that share nothing: what is set for one chain must not appear in another, nor in QUIC's.
        tcp["filter_chains"] = [
            _chain(
                copy.deepcopy(http), {"transport_protocol": "tls", "application_protocols": ["h2"]}, _tls(tls, "h2")
            ),
            _chain(_pass_on("http1_tls", **_TELL_CERTIFICATE), {"transport_protocol": "tls"}, _tls(tls, "http/1.1")),
            _chain(copy.deepcopy(http), {**plain, "application_protocols": ["h2c"]}),
            _chain(_pass_on("http1"), plain),
        ]
        h2, _, h2c, _ = tcp["filter_chains"]
        for chain in (h2, h2c, *quic["filter_chains"]):
            bound_http(chain["filters"][-1]["typed_config"])
        bound_listener(tcp)
        http2 = h2["filters"][-1]["typed_config"]
        http2["http_filters"].insert(0, _announce(self._announced_port))
        # What a client writes there itself is removed, here and, by default, in every other chain.
        http2["forward_client_cert_details"] = "SANITIZE_SET"
        http2["set_current_client_cert_details"] = {"cert": True}
        for chain in quic["filter_chains"]:
            _serve_over_quic(chain["transport_socket"]["typed_config"], self._secrets)
        config["node"] = {"id": "airserve", "cluster": "airserve"}
        resources["clusters"] = [
            *resources.get("clusters", []),
            _cluster("http1", self._sockets.plain),
            _cluster("http1_tls", self._sockets.tls),
        ]
        config["overload_manager"] = overload_manager()
        config["layered_runtime"] = flood_limits()
        # Whoever is on this machine can reach it; pyvoy asks it where it listens, and nobody needs more.
        config["admin"]["allow_paths"] = [{"prefix": "/listeners"}]
        return config


def _own_addresses(host: str) -> list[dict[str, Any]]:
    """Sources that are this machine: its loopback, and `host`, from which it calls itself where it listens there."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return list(_LOOPBACK)
    if address.is_unspecified or address.is_loopback or address.is_link_local:
        # Each link has its own link-local addresses: on another one it is another machine's.
        return list(_LOOPBACK)
    return [*_LOOPBACK, {"address_prefix": str(address), "prefix_len": address.max_prefixlen}]


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


def _pass_on(cluster: str, **options: Any) -> list[dict[str, Any]]:
    """A connection's bytes, to and fro."""
    return [_filter("network.tcp_proxy", "TcpProxy", stat_prefix=cluster, cluster=cluster, **options)]


def _serve_over_quic(context: dict[str, Any], secrets: TlsSecrets) -> None:
    """The server's certificate as over TCP. Envoy asks no client for one over QUIC, so none is ever told of."""
    of_tcp = secrets.context()
    inner = context["downstream_tls_context"]["common_tls_context"]
    inner.pop("tls_certificates")
    inner["tls_certificate_sds_secret_configs"] = of_tcp["tls_certificate_sds_secret_configs"]


def _cluster(name: str, path: Path) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": {"pipe": {"path": str(path)}}}}
    load = {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]}
    # The default of 1,024 connections would refuse the next phone.
    thresholds = [{"max_connections": _MAX_CONNECTIONS, "max_pending_requests": _MAX_CONNECTIONS}]
    cluster = {
        "name": name,
        "type": "STATIC",
        "load_assignment": load,
        "circuit_breakers": {"thresholds": thresholds},
        "transport_socket": _introduced(),
    }
    bound_cluster(cluster)
    return cluster


def _introduced() -> dict[str, Any]:
    """Plain bytes behind a head that tells the client's address (`airserve.server.proxy_protocol`)."""
    types = "type.googleapis.com/envoy.extensions.transport_sockets"
    raw = {
        "name": "envoy.transport_sockets.raw_buffer",
        "typed_config": {"@type": f"{types}.raw_buffer.v3.RawBuffer"},
    }
    return {
        "name": "envoy.transport_sockets.upstream_proxy_protocol",
        "typed_config": {
            "@type": f"{types}.proxy_protocol.v3.ProxyProtocolUpstreamTransport",
            "config": {"version": "V2", "pass_through_tlvs": {"match_type": "INCLUDE_ALL"}},
            "transport_socket": raw,
        },
    }


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
