"""The one table from what the domain refuses to what gRPC says.

Every error is a google.rpc.Status with exactly one ErrorInfo (domain "pilothouse.dev", reason from
the contract, the dynamic words in
metadata), and a BadRequest where a request breaks rules of the contract.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

from pilothouse.v1 import error_reason_pb2
from pilothouse_server.domain import errors

ERROR_DOMAIN = "pilothouse.dev"
DETAILS_KEY = "grpc-status-details-bin"
_CODES = {code.value[0]: code for code in grpc.StatusCode}


class Refusal(NamedTuple):
    """How one kind of error looks on the wire."""

    code: grpc.StatusCode
    reason: str


_TABLE: dict[type[errors.PilothouseError], Refusal] = {
    errors.InvalidArgument: Refusal(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT"),
    errors.InvalidFilter: Refusal(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FILTER"),
    errors.InvalidPageToken: Refusal(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN"),
    errors.InvalidResumeToken: Refusal(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_RESUME_TOKEN"),
    errors.IllegalTransition: Refusal(grpc.StatusCode.FAILED_PRECONDITION, "ILLEGAL_TRANSITION"),
    errors.CommandPending: Refusal(grpc.StatusCode.FAILED_PRECONDITION, "COMMAND_PENDING"),
    errors.UnsupportedByEngine: Refusal(
        grpc.StatusCode.FAILED_PRECONDITION, "UNSUPPORTED_BY_ENGINE"
    ),
    errors.NoExecutor: Refusal(grpc.StatusCode.FAILED_PRECONDITION, "NO_EXECUTOR"),
    errors.CommandEnded: Refusal(grpc.StatusCode.FAILED_PRECONDITION, "COMMAND_ENDED"),
    errors.DeadEventTruncated: Refusal(grpc.StatusCode.FAILED_PRECONDITION, "DEAD_EVENT_TRUNCATED"),
    errors.DeliveryOver: Refusal(grpc.StatusCode.FAILED_PRECONDITION, "DELIVERY_OVER"),
    errors.NotConfirmed: Refusal(grpc.StatusCode.FAILED_PRECONDITION, "NOT_CONFIRMED"),
    errors.WrongState: Refusal(grpc.StatusCode.FAILED_PRECONDITION, "WRONG_STATE"),
    errors.AlertResolved: Refusal(grpc.StatusCode.FAILED_PRECONDITION, "ALERT_RESOLVED"),
    errors.AlreadyThere: Refusal(grpc.StatusCode.ALREADY_EXISTS, "ALREADY_THERE"),
    errors.StillNamed: Refusal(grpc.StatusCode.FAILED_PRECONDITION, "STILL_NAMED"),
    errors.NoSecretKey: Refusal(grpc.StatusCode.FAILED_PRECONDITION, "NO_SECRET_KEY"),
    errors.EtagMismatch: Refusal(grpc.StatusCode.ABORTED, "ETAG_MISMATCH"),
    errors.RequestIdReused: Refusal(grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED"),
    errors.NotCommandOwner: Refusal(grpc.StatusCode.PERMISSION_DENIED, "NOT_COMMAND_OWNER"),
    errors.ExecutorReplaced: Refusal(grpc.StatusCode.ABORTED, "EXECUTOR_REPLACED"),
    errors.Busy: Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED"),
    errors.LimitExceeded: Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_EXCEEDED"),
}
_UNAVAILABLE = {
    "log": "LOG_UNAVAILABLE",
    "database": "DATABASE_UNAVAILABLE",
    "board": "NO_SNAPSHOT",
    "snapshot": "NO_SNAPSHOT",
    "server": "DRAINING",
    "alerts": "NO_LEADER",
    "redis": "LOG_UNAVAILABLE",
}


def refusal_of(error: errors.PilothouseError) -> Refusal:
    """The code and the reason of an error."""
    match error:
        case errors.NotFound(kind=kind):
            return Refusal(grpc.StatusCode.NOT_FOUND, f"{kind.upper()}_NOT_FOUND")
        case errors.Unavailable(what=what):
            return Refusal(grpc.StatusCode.UNAVAILABLE, _UNAVAILABLE[what])
        case _:
            return _TABLE[type(error)]


def status_of(error: errors.PilothouseError) -> status_pb2.Status:
    """The whole status of an error."""
    refusal = refusal_of(error)
    if error_reason_pb2.ErrorReason.Value(f"ERROR_REASON_{refusal.reason}") == 0:
        raise ValueError(f"{refusal.reason} is not a reason")
    status = _status(refusal, error.message, error.metadata)
    if isinstance(error, errors.InvalidArgument):
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=error.field, description=error.description
        )
        _add(status, error_details_pb2.BadRequest(field_violations=[violation]))
    if isinstance(error, errors.Unavailable | errors.Busy):
        delay = duration_pb2.Duration()
        delay.FromMicroseconds(error.retry_after_us)
        _add(status, error_details_pb2.RetryInfo(retry_delay=delay))
    return status


def bad_request(violations: Iterable[tuple[str, str]]) -> status_pb2.Status:
    """The status of a request that breaks rules of the contract: (field path, what is wrong) for
    each."""
    found = list(violations)
    text = "; ".join(f"{field}: {description}" for field, description in found)
    status = _status(
        Refusal(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT"), text or "invalid request", {}
    )
    details = error_details_pb2.BadRequest()
    for field, description in found:
        details.field_violations.add(field=field, description=description)
    _add(status, details)
    return status


def internal(request_id: str) -> status_pb2.Status:
    """The status of a fault of ours: nothing of it is told but where to look."""
    return _status(
        Refusal(grpc.StatusCode.INTERNAL, "INTERNAL"),
        f"a fault of the server; its log has it under request {request_id}",
        {"request_id": request_id},
    )


def no_such_method(method: str) -> status_pb2.Status:
    """The status of a call to something that is not served."""
    return _status(
        Refusal(grpc.StatusCode.UNIMPLEMENTED, "NO_SUCH_METHOD"),
        f"there is no method {method}",
        {"method": method},
    )


def code_of(status: status_pb2.Status) -> grpc.StatusCode:
    """The gRPC code of a status."""
    return _CODES[status.code]


async def abort(context: grpc.aio.ServicerContext[Any, Any], status: status_pb2.Status) -> None:
    """Ends the call with `status`. Raises."""
    await context.abort(
        code_of(status),
        status.message,
        ((DETAILS_KEY, status.SerializeToString()),),
    )


def _status(refusal: Refusal, message: str, metadata: dict[str, str]) -> status_pb2.Status:
    status = status_pb2.Status(code=refusal.code.value[0], message=message)
    _add(
        status,
        error_details_pb2.ErrorInfo(reason=refusal.reason, domain=ERROR_DOMAIN, metadata=metadata),
    )
    return status


def _add(status: status_pb2.Status, detail: Any) -> None:
    packed = any_pb2.Any()
    packed.Pack(detail)
    status.details.append(packed)
