"""Each route of the service: who may call it, and which room answers. No bytes are parsed or made in here."""

from __future__ import annotations

import hmac
import os
import time
import uuid
from collections.abc import Awaitable, Callable

import structlog

from airserve import __version__
from airserve.accounts import Principal
from airserve.core.call import Call, Reply
from airserve.core.errors import AirserveError, ForbiddenError, NotFoundError, OverloadedError
from airserve.protocols import headers as wire
from airserve.protocols import open_inference as oip
from airserve.protocols.open_inference import Encoded, Operation, Route
from airserve.server.http import Request
from airserve.server.metrics import MetricsPage
from airserve.server.runtime import Runtime
from airserve.serving.deployment import Deployment

log = structlog.get_logger("airserve.server")

DRAIN_TOKEN_VARIABLE = "AIRSERVE_RUN_DRAIN_TOKEN"  # noqa: S105  # the name of a variable, not a secret


class Endpoints:
    """Answers requests from one runtime. Every route is denied without a key, except health."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._metrics = MetricsPage(runtime)
        self._drain_token = os.environ.get(DRAIN_TOKEN_VARIABLE, "")
        self._open_inference: dict[Operation, Callable[[Request, Route], Awaitable[Encoded]]] = {
            Operation.INFER: self._infer,
            Operation.SERVER_LIVE: self._server_live,
            Operation.SERVER_READY: self._server_ready,
            Operation.SERVER_METADATA: self._server_metadata,
            Operation.MODEL_METADATA: self._model_metadata,
            Operation.MODEL_READY: self._model_ready,
        }
        self._own: dict[tuple[str, str], Callable[[Request], Awaitable[Encoded]]] = {
            ("GET", "/metrics"): self._metrics_page,
            ("POST", "/control/drain"): self._drain,
        }
