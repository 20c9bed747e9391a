"""How a command asks the control API of a running service, with the operator's key."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from airserve.cli.service import find
from airserve.core.errors import AirserveError, from_wire

OperatorKey = Annotated[
    str | None, typer.Option("--operator-key", envvar="AIRSERVE_OPERATOR_KEY", help="The operator's key.")
]

_TIMEOUT_S = 30.0


def ask_control(path: str, url: str | None, key: str | None, ca: Path | None, state_dir: Path | None) -> Any:
    """The JSON document at `path` of the service that the options name, your own without them.

    Raises `NotFoundError` and `MissingKeyError` where none is known, `UnreachableError`, and the service's refusals.
    """
    import pyqwest

    from airserve.client.exchange import parse_json
    from airserve.client.transport import NETWORK_ERRORS, as_response, no_answer, open_transport

    found_url, found_key, found_ca = find(url, key or _kept_key(state_dir), ca, state_dir)
    transport = open_transport(pyqwest.SyncHTTPTransport, "auto", found_ca, None)
    try:
        headers = {"authorization": f"Bearer {found_key}"}
        answer = pyqwest.SyncClient(transport).get(found_url.rstrip("/") + path, headers, timeout=_TIMEOUT_S)
        response = as_response(answer)
    except NETWORK_ERRORS as error:
        raise no_answer(found_url, error, _TIMEOUT_S) from error
    finally:
        transport.close()
    if response.status != 200:
        raise _refusal(response.status, parse_json(response.body))
    return parse_json(response.body)


def _kept_key(state_dir: Path | None) -> str | None:
    """The operator's key that the first start left for this user."""
    folder = (state_dir or Path.home() / ".airserve").expanduser()
    with contextlib.suppress(OSError, ValueError, KeyError):
        return str(json.loads((folder / "credentials.json").read_text())["operator_key"])
    return None


def _refusal(status: int, problem: dict[str, Any]) -> AirserveError:
    """Problem details as the error that they tell of."""
    return from_wire(problem.get("code"), status, str(problem.get("detail", f"HTTP {status}")))
