"""Whether a project's inputs and answers are kept, for how long, and what is left out of them. Off unless it is set."""

from __future__ import annotations

import msgspec

from airserve.core.errors import InvalidInputError

MAX_RETENTION_DAYS = 365
_MAX_REDACTED = 50


class PayloadLogging(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The setting of one project. `redact` names inputs, outputs and fields whose content is left out."""

    enabled: bool = False
    retention_days: int = 30
    redact: tuple[str, ...] = ()


OFF = PayloadLogging()


def check_payload_logging(setting: PayloadLogging) -> PayloadLogging:
    """The setting, or `InvalidInputError`."""
    if not 1 <= setting.retention_days <= MAX_RETENTION_DAYS:
        raise InvalidInputError(f"payloads are kept for 1 to {MAX_RETENTION_DAYS} days, not {setting.retention_days}")
    if len(setting.redact) > _MAX_REDACTED:
        raise InvalidInputError(f"at most {_MAX_REDACTED} names are redacted, not {len(setting.redact)}")
    for name in setting.redact:
        if not name or not name.isprintable() or len(name) > 200:
            raise InvalidInputError("what is redacted are names of inputs, outputs or fields")
    return setting
