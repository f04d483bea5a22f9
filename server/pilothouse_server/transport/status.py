"""The one table from what the domain refuses to codes of gRPC; each error carries its reason itself.

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


_TABLE: dict[type[errors.PilothouseError], grpc.StatusCode] = {
    errors.InvalidArgument: grpc.StatusCode.INVALID_ARGUMENT,
    errors.InvalidFilter: grpc.StatusCode.INVALID_ARGUMENT,
    errors.InvalidPageToken: grpc.StatusCode.INVALID_ARGUMENT,
    errors.InvalidResumeToken: grpc.StatusCode.INVALID_ARGUMENT,
    errors.IllegalTransition: grpc.StatusCode.FAILED_PRECONDITION,
    errors.CommandPending: grpc.StatusCode.FAILED_PRECONDITION,
    errors.UnsupportedByEngine: grpc.StatusCode.FAILED_PRECONDITION,
    errors.NoExecutor: grpc.StatusCode.FAILED_PRECONDITION,
    errors.EngineConnected: grpc.StatusCode.FAILED_PRECONDITION,
    errors.CommandEnded: grpc.StatusCode.FAILED_PRECONDITION,
    errors.DeadEventTruncated: grpc.StatusCode.FAILED_PRECONDITION,
    errors.DeliveryOver: grpc.StatusCode.FAILED_PRECONDITION,
    errors.NotConfirmed: grpc.StatusCode.FAILED_PRECONDITION,
    errors.WrongState: grpc.StatusCode.FAILED_PRECONDITION,
    errors.AlertResolved: grpc.StatusCode.FAILED_PRECONDITION,
    errors.AlreadyThere: grpc.StatusCode.ALREADY_EXISTS,
    errors.StillNamed: grpc.StatusCode.FAILED_PRECONDITION,
    errors.NoSecretKey: grpc.StatusCode.FAILED_PRECONDITION,
    errors.EtagMismatch: grpc.StatusCode.ABORTED,
    errors.RequestIdReused: grpc.StatusCode.ALREADY_EXISTS,
    errors.NotCommandOwner: grpc.StatusCode.PERMISSION_DENIED,
    errors.ExecutorReplaced: grpc.StatusCode.ABORTED,
    errors.Busy: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.LimitExceeded: grpc.StatusCode.RESOURCE_EXHAUSTED,
}


def refusal_of(error: errors.PilothouseError) -> Refusal:
    """The code and the reason of an error."""
    match error:
        case errors.NotFound():
            return Refusal(grpc.StatusCode.NOT_FOUND, error.reason)
        case errors.Unavailable():
            return Refusal(grpc.StatusCode.UNAVAILABLE, error.reason)
        case _:
            return Refusal(_TABLE[type(error)], error.reason)


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
