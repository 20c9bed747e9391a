"""What no request's target may be, whatever the route: overlong, or the carrier of a key (RFC 9110 §4.2.4, §17.9)."""

from __future__ import annotations

from airserve.core.errors import KeyInUrlError, TargetTooLongError

MAX_TARGET = 4096


def check_target(target: str) -> None:
    """Refuse a path with its query that is longer than `MAX_TARGET`, or that holds an API key."""
    if len(target) > MAX_TARGET:
        raise TargetTooLongError(f"the path and query are longer than {MAX_TARGET} characters; send data in the body")
    if any(prefix in target for prefix in ("as_live_", "as_usr_", "as_adm_")):
        raise KeyInUrlError(
            "an API key in a URL ends in logs: revoke it, make a new one and send that as 'Authorization: Bearer …'"
        )
