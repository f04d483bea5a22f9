"""One error for every surface of the bridge: a gRPC code, a reason from the contract, and words for people.

The table from gRPC codes to HTTP states is google.rpc.Code's, except for what the bridge knows better: a
request that is too large is 413, one that took too long to come 408, and a method that a path does not have
405.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2
from starlette.responses import JSONResponse

HTTP_STATUS: Mapping[str, int] = {
    "CANCELLED": 499,
    "UNKNOWN": 500,
    "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "PERMISSION_DENIED": 403,
    "RESOURCE_EXHAUSTED": 429,
    "FAILED_PRECONDITION": 409,
    "ABORTED": 409,
    "OUT_OF_RANGE": 400,
    "UNIMPLEMENTED": 501,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DATA_LOSS": 500,
    "UNAUTHENTICATED": 401,
}
DETAILS_KEY = "grpc-status-details-bin"
WORD_LIMIT = 128


@dataclass(frozen=True, slots=True)
class Violation:
    """What is wrong with one field."""

    field: str
    description: str


@dataclass(eq=False)
class BridgeError(Exception):
    """A refusal with a name."""

    code: str
    """The name of a gRPC code."""
    reason: str
    """The name of an ErrorReason without its prefix."""
    message: str
    """For people."""
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    """The words that change from case to case."""
    violations: tuple[Violation, ...] = ()
    """The fields at fault."""
    http_status: int = 0
    """Where HTTP has a better word than the table; 0: the table's."""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    """Sent with the HTTP response."""

    def __str__(self) -> str:
        return self.message

    @property
    def status(self) -> int:
        """The HTTP state."""
        if self.http_status:
            return self.http_status
        if self.reason == "LIMIT_EXCEEDED" and self.code == "RESOURCE_EXHAUSTED":
            return 413
        return HTTP_STATUS.get(self.code, 500)

    def body(self) -> dict[str, Any]:
        """What a client reads."""
        return {
            "code": self.code,
            "message": self.message,
            "reason": self.reason,
            "metadata": dict(self.metadata),
            "violations": [
                {"field": v.field, "description": v.description} for v in self.violations
            ],
        }

    def response(self) -> JSONResponse:
        """As an HTTP response."""
        headers = {"cache-control": "no-store", **self.headers}
        if self.status in {429, 503}:
            headers.setdefault("retry-after", "1")
        return JSONResponse(self.body(), self.status, headers)


def word(value: object) -> str:
    """What a client sent, fit to be quoted to it and to others: bounded, and valid text."""
    text = str(value).encode("utf-8", "replace").decode("utf-8")
    return text if len(text) <= WORD_LIMIT else text[: WORD_LIMIT - 1] + "…"


def malformed(message: str, field_path: str = "", *, http_status: int = 0) -> BridgeError:
    """A request that is not what the contract says."""
    violations = (Violation(word(field_path), message),) if field_path else ()
    return BridgeError(
        "INVALID_ARGUMENT", "MALFORMED_REQUEST", message, {}, violations, http_status
    )


def over_limit(message: str, limit: int, value: int | None = None) -> BridgeError:
    """A request over a limit."""
    metadata = {"limit": str(limit)} | ({} if value is None else {"value": str(value)})
    return BridgeError("RESOURCE_EXHAUSTED", "LIMIT_EXCEEDED", message, metadata)


def from_rpc(error: grpc.aio.AioRpcError, server: str) -> BridgeError:
    """What the server said, from google.rpc.Status in the trailing metadata; without it, what can be said honestly."""
    status = _rich_status(error)
    code = error.code().name
    if status is None:
        return _plain(code, error.details() or "", server)
    reason, metadata, violations, headers = (
        "",
        dict[str, str](),
        tuple[Violation, ...](),
        dict[str, str](),
    )
    for detail in status.details:
        info, bad, retry = (
            error_details_pb2.ErrorInfo(),
            error_details_pb2.BadRequest(),
            error_details_pb2.RetryInfo(),
        )
        if detail.Unpack(info):
            reason, metadata = info.reason, dict(info.metadata)
        elif detail.Unpack(bad):
            violations = tuple(Violation(v.field, v.description) for v in bad.field_violations)
        elif detail.Unpack(retry):
            seconds = retry.retry_delay.seconds + (retry.retry_delay.nanos > 0)
            headers["retry-after"] = str(max(1, seconds))
    return BridgeError(
        code, reason or _default_reason(code), status.message, metadata, violations, headers=headers
    )


def _rich_status(error: grpc.aio.AioRpcError) -> status_pb2.Status | None:
    for key, value in error.trailing_metadata():
        if key == DETAILS_KEY and isinstance(value, bytes):
            try:
                return status_pb2.Status.FromString(value)
            except ValueError:
                return None
    return None


def _plain(code: str, details: str, server: str) -> BridgeError:
    """An error of the transport, whose own words name addresses and files and are for the log, not for clients."""
    reason = _default_reason(code)
    match code:
        case "UNAVAILABLE":
            message = f"the Pilothouse server at {server} cannot be reached"
        case "DEADLINE_EXCEEDED":
            message = "the server did not answer in time; the request may still take effect"
        case "UNIMPLEMENTED":
            message = "the server does not have this method"
        case "RESOURCE_EXHAUSTED":
            reason, message = "LIMIT_EXCEEDED", "a message is larger than the transport carries"
        case "INTERNAL" | "UNKNOWN":
            message = "the server failed to answer this request"
        case _:
            message = word(details) or code
    return BridgeError(code, reason, message)


def _default_reason(code: str) -> str:
    match code:
        case "UNAVAILABLE":
            return "SERVER_UNREACHABLE"
        case "DEADLINE_EXCEEDED":
            return "DEADLINE_EXCEEDED"
        case "UNIMPLEMENTED":
            return "NO_SUCH_METHOD"
        case "INVALID_ARGUMENT":
            return "INVALID_ARGUMENT"
        case "RESOURCE_EXHAUSTED":
            return "RATE_LIMITED"
        case _:
            return "INTERNAL"
