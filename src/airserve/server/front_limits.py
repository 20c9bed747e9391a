"""What the front lets a peer do: bounds on connections, streams, headers, frames, buffers and silence.

Envoy's own defaults are for a proxy within a house; these follow its "Configuring Envoy as an edge proxy". Floods of
frames end their connection: config.core.v3.Http2ProtocolOptions, and overload.premature_reset_total_stream_count, are
said here with Envoy's own numbers, so that no later version of it changes them unseen.
"""

from __future__ import annotations

import resource
from typing import Any

_MAX_STREAMS = 256
_STREAM_WINDOW = 4 << 20
_CONNECTION_WINDOW = 16 << 20
_BUFFER = 256 << 10
_FRAMES_UNREAD = 10_000
_ANSWERS_UNREAD = 1_000
"""Frames that answer SETTINGS, PING and RST_STREAM, and wait for a peer that does not read them."""
_EMPTY_FRAMES = 1
"""HEADERS, CONTINUATION and DATA in a row that bring nothing."""
_PRIORITY_FRAMES = 100
"""Of one stream."""
_WINDOW_UPDATES = 10
"""For each DATA frame that was sent."""
_STREAMS_RESET = 500
"""Of a connection, most of which its peer has reset within a second of their beginning ("rapid reset")."""
_FILES_OF_THE_HOUSE = 1000
_FILES_OF_A_CONNECTION = 3
"""The client's socket, and both ends of the one on which the front passes it on."""
_TYPES = "type.googleapis.com/envoy.extensions.resource_monitors"


def bound_listener(listener: dict[str, Any]) -> None:
    """Who says nothing, or never ends its handshake, is dropped after 10 s; what a slow reader leaves is bounded."""
    listener["listener_filters_timeout"] = "10s"
    listener["per_connection_buffer_limit_bytes"] = _BUFFER
    for chain in listener["filter_chains"]:
        chain["transport_socket_connect_timeout"] = "10s"


def bound_http(http: dict[str, Any]) -> None:
    """Slow or endless peers are dropped: headers within 10 s, a silent stream after 5 minutes."""
    http["request_headers_timeout"] = "10s"
    http["stream_idle_timeout"] = "300s"
    http["max_request_headers_kb"] = 60
    http["common_http_protocol_options"] = {"max_headers_count": 100, "idle_timeout": "3600s"}
    http["http2_protocol_options"] = {
        "max_concurrent_streams": _MAX_STREAMS,
        "initial_stream_window_size": _STREAM_WINDOW,
        "initial_connection_window_size": _CONNECTION_WINDOW,
        "max_outbound_frames": _FRAMES_UNREAD,
        "max_outbound_control_frames": _ANSWERS_UNREAD,
        "max_consecutive_inbound_frames_with_empty_payload": _EMPTY_FRAMES,
        "max_inbound_priority_frames_per_stream": _PRIORITY_FRAMES,
        "max_inbound_window_update_frames_per_data_frame_sent": _WINDOW_UPDATES,
    }


def bound_cluster(cluster: dict[str, Any]) -> None:
    """What waits for the serving side of a connection is bounded as what waits for its client is."""
    cluster["per_connection_buffer_limit_bytes"] = _BUFFER


def flood_limits() -> dict[str, Any]:
    """What Envoy takes as flags of its runtime, and not with a listener."""
    layer = {"overload.premature_reset_total_stream_count": _STREAMS_RESET}
    return {"layers": [{"name": "floods", "static_layer": layer}]}


def overload_manager() -> dict[str, Any]:
    """As many connections as there are files for, and no more: journal and database must always open theirs."""
    monitor = {
        "name": "envoy.resource_monitors.global_downstream_max_connections",
        "typed_config": {
            "@type": f"{_TYPES}.downstream_connections.v3.DownstreamConnectionsConfig",
            "max_active_downstream_connections": max_connections(),
        },
    }
    return {"resource_monitors": [monitor]}


def max_connections() -> int:
    """The connections that the limit on open files allows (RLIMIT_NOFILE)."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = 1 << 20 if soft == resource.RLIM_INFINITY else soft
    return max(100, (files - _FILES_OF_THE_HOUSE) // _FILES_OF_A_CONNECTION)


def allow_as_many_files_as_can_be() -> None:
    """Raise this process's limit on open files, and that of those it will start, to the highest allowed."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
