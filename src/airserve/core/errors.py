"""Every refusal of Airserve, once: a stable code, an HTTP status, a gRPC status and a sentence.

A part that refuses raises one of these with a message that says what was wrong and what to do. A protocol
only renders it; the client turns a rendered error back into the same class with `from_code`.
"""

from __future__ import annotations

import threading
from typing import ClassVar


class AirserveError(Exception):
    """The base of all refusals; on its own it is an internal error (500).

    `retry_after` is in seconds, given where the same call may succeed later.
    """

    code: ClassVar[str] = "internal"
    http_status: ClassVar[int] = 500
    grpc_status: ClassVar[str] = "INTERNAL"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after


class InvalidInputError(AirserveError):
    """The request is malformed or does not fit the model."""

    code = "invalid_input"
    http_status = 400
    grpc_status = "INVALID_ARGUMENT"


class ContextOverflowError(InvalidInputError):
    """Prompt and answer do not fit into the model's context; the code is OpenAI's, since clients look for it."""

    code = "context_length_exceeded"


class BadTraceError(InvalidInputError):
    """A file that is to describe a link and cannot be read as one; the sentence names the line."""

    code = "bad_trace"


class CodecNotAcceptedError(InvalidInputError):
    """A tensor came, or is asked for, in a codec that the model was not measured with."""

    code = "codec_not_accepted"


class BadFrameError(InvalidInputError):
    """A coded tensor that is damaged, cut off or malformed; encode it anew, and send it whole."""

    code = "bad_frame"


class UnsealError(InvalidInputError):
    """A sealed call that cannot be opened; the sentence is the same for every reason."""

    code = "unseal_failed"


class SealedKeyError(InvalidInputError):
    """A sealed call to a key that its model does not have (any more), or a key that cannot be trusted or used."""

    code = "sealed_key"


class SealedClockError(InvalidInputError):
    """A sealed call whose time is too far from the service's."""

    code = "sealed_clock"


class SealedReplayError(InvalidInputError):
    """A sealed call that was taken before."""

    code = "sealed_replay"


class KeyInUrlError(InvalidInputError):
    """An API key in a URL: it is in the logs of everybody on the way."""

    code = "key_in_url"


class MissingKeyError(AirserveError):
    """No API key, or one that is not known, malformed, expired or revoked."""

    code = "unauthenticated"
    http_status = 401
    grpc_status = "UNAUTHENTICATED"


class BudgetExhaustedError(AirserveError):
    """The tenant's credit or budget does not cover the call."""

    code = "budget_exhausted"
    http_status = 402
    grpc_status = "RESOURCE_EXHAUSTED"


class ForbiddenError(AirserveError):
    """The key is good but not for this."""

    code = "forbidden"
    http_status = 403
    grpc_status = "PERMISSION_DENIED"


class NotFoundError(AirserveError):
    """No such model, version, alias, tenant, key or route."""

    code = "not_found"
    http_status = 404
    grpc_status = "NOT_FOUND"


class MethodNotAllowedError(AirserveError):
    """The route exists, for another method."""

    code = "method_not_allowed"
    http_status = 405
    grpc_status = "UNIMPLEMENTED"


class NotAcceptableError(AirserveError):
    """The client accepts none of the forms that an answer can take."""

    code = "not_acceptable"
    http_status = 406
    grpc_status = "INVALID_ARGUMENT"


class RequestTimeoutError(AirserveError):
    """The request itself did not come in time."""

    code = "request_timeout"
    http_status = 408
    grpc_status = "CANCELLED"
    retryable = True


class ConflictError(AirserveError):
    """The thing exists already or is in a state that forbids this."""

    code = "conflict"
    http_status = 409
    grpc_status = "ALREADY_EXISTS"


class MissingReferenceError(ConflictError):
    """A frame that is the difference to another, which is not held here (any more); send a key frame."""

    code = "missing_reference"
    grpc_status = "FAILED_PRECONDITION"


class InputNotHeldError(ConflictError):
    """An input that was named by its digest alone, and is not held for this tenant (any more); send its data."""

    code = "input_not_held"
    grpc_status = "FAILED_PRECONDITION"


class KeyInUseError(ConflictError):
    """A call with the same Idempotency-Key has not ended yet."""

    code = "idempotency_key_in_use"
    grpc_status = "ABORTED"
    retryable = True


class KeyReusedError(AirserveError):
    """An Idempotency-Key came again with another request."""

    code = "idempotency_key_reused"
    http_status = 422
    grpc_status = "INVALID_ARGUMENT"


class TooLargeError(AirserveError):
    """The body, package or tensor is over a limit."""

    code = "too_large"
    http_status = 413
    grpc_status = "RESOURCE_EXHAUSTED"


class TargetTooLongError(AirserveError):
    """The request's path and query are over the limit."""

    code = "target_too_long"
    http_status = 414
    grpc_status = "INVALID_ARGUMENT"


class UnsupportedEncodingError(AirserveError):
    """A content coding or media type that we do not speak."""

    code = "unsupported_encoding"
    http_status = 415
    grpc_status = "UNIMPLEMENTED"


class RateLimitedError(AirserveError):
    """The tenant asks for more than its plan allows at this time."""

    code = "rate_limited"
    http_status = 429
    grpc_status = "RESOURCE_EXHAUSTED"
    retryable = True


class HeadTooLargeError(AirserveError):
    """Request line and headers are over the limit."""

    code = "head_too_large"
    http_status = 431
    grpc_status = "RESOURCE_EXHAUSTED"


class CancelledError(AirserveError):
    """The client has gone; nobody reads this answer (499 by custom)."""

    code = "cancelled"
    http_status = 499
    grpc_status = "CANCELLED"


class ModelFailedError(AirserveError):
    """The model itself raised while it computed."""

    code = "model_failed"
    http_status = 500
    grpc_status = "INTERNAL"


class NotImplementedHereError(AirserveError):
    """A part of a protocol that this server does not offer."""

    code = "not_implemented"
    http_status = 501
    grpc_status = "UNIMPLEMENTED"


class OverloadedError(AirserveError):
    """The queue is full, the deadline cannot be met, the model loads or the server drains: come back later."""

    code = "overloaded"
    http_status = 503
    grpc_status = "UNAVAILABLE"
    retryable = True


class ModelLostError(AirserveError):
    """The process that ran the model ended amid the call and is being replaced; the same call may succeed later.

    `replaced` is set once its successor can be called, or has failed to start.
    """

    code = "model_lost"
    http_status = 503
    grpc_status = "UNAVAILABLE"
    retryable = True

    def __init__(
        self, message: str, *, retry_after: float | None = None, replaced: threading.Event | None = None
    ) -> None:
        super().__init__(message, retry_after=retry_after)
        self.replaced = replaced


class DeadlineExceededError(AirserveError):
    """The time that the call was given ran out before its answer was ready."""

    code = "deadline_exceeded"
    http_status = 504
    grpc_status = "DEADLINE_EXCEEDED"


class UnreachableError(AirserveError):
    """Raised by the client alone: no answer came from the server."""

    code = "unreachable"
    http_status = 503
    grpc_status = "UNAVAILABLE"
    retryable = True


class CannotEmulateError(AirserveError):
    """This machine lacks what an emulated link needs; the message says what, and what to do."""

    code = "cannot_emulate"
    http_status = 501
    grpc_status = "UNIMPLEMENTED"


class BadPackageError(InvalidInputError):
    """A model package that is damaged, incomplete, oversized or tries to leave its folder."""

    code = "bad_package"


class UnsafeFormatError(BadPackageError):
    """A file that can run code when it is loaded, whatever it is called: a pickle and what holds one."""

    code = "unsafe_format"
    http_status = 415


class ModelRejectedError(BadPackageError):
    """A graph over a limit, or one that killed, hung or exhausted the process that tried it."""

    code = "model_rejected"


class UnsignedModelError(ForbiddenError):
    """Only signed models are served here, and this one bears no signature of a trusted key."""

    code = "unsigned_model"


class DamagedJournalError(AirserveError):
    """The usage journal holds bytes that no crash explains; nothing of it is guessed."""

    code = "damaged_journal"


class DamagedLogError(AirserveError):
    """The log of who did what is not what was written: a row was changed, removed, moved or never signed."""

    code = "damaged_log"


def _family(root: type[AirserveError]) -> list[type[AirserveError]]:
    return [root, *(kind for child in root.__subclasses__() for kind in _family(child))]


BY_CODE: dict[str, type[AirserveError]] = {kind.code: kind for kind in _family(AirserveError)}
_BY_STATUS: dict[int, type[AirserveError]] = {}
# The most general class of each status comes first: a status alone says no more.
for _kind in sorted(BY_CODE.values(), key=lambda kind: len(kind.__mro__)):
    _BY_STATUS.setdefault(_kind.http_status, _kind)


def from_wire(code: str | None, http_status: int, message: str, retry_after: float | None = None) -> AirserveError:
    """The error that a server rendered, as its class: by stable code first, else by HTTP status."""
    kind = BY_CODE.get(code or "") or _BY_STATUS.get(http_status)
    if kind is None:
        kind = InvalidInputError if 400 <= http_status < 500 else AirserveError
    return kind(message, retry_after=retry_after)
