"""Everything that this package raises, drawn once.

    PilothouseError
    ├── CallError                    a call was refused or did not get through
    │   ├── InvalidArgument          a field breaks a rule; `violations` names it
    │   ├── NotFound
    │   ├── AlreadyExists            there is one of that id or name, or the request_id was used for something else
    │   ├── FailedPrecondition
    │   │   ├── IllegalTransition    the action is not legal in the workflow's state
    │   │   ├── CommandPending       another command on the workflow has not ended
    │   │   ├── UnsupportedByEngine
    │   │   ├── NoExecutor
    │   │   ├── EngineConnected
    │   │   ├── CommandEnded
    │   │   ├── AlertResolved
    │   │   ├── NotConfirmed         what was typed is not what has to be; `expected` is
    │   │   └── WrongState           not possible where the batch, stop or agent stands
    │   ├── Aborted
    │   │   ├── EtagMismatch         read again
    │   │   └── ExecutorReplaced     another executor of the same name took over
    │   ├── PermissionDenied
    │   │   └── NotCommandOwner
    │   ├── Unauthenticated
    │   ├── ResourceExhausted
    │   │   ├── LimitExceeded
    │   │   └── RateLimited
    │   ├── Unavailable              try again
    │   │   └── NoSnapshot
    │   ├── DeadlineExceeded
    │   ├── Cancelled                by the other side
    │   ├── Unimplemented
    │   └── ServerFault              INTERNAL, UNKNOWN, DATA_LOSS
    ├── CommandNotEffective          a command that was waited for failed or expired
    ├── CommandRefused               raised by an engine's handler: it cannot do this
    ├── BufferFull                   an executor's buffer has no room
    └── NotDelivered                 events that an executor could not deliver in time

The class of a CallError is found by its reason, which is for programs, and by its gRPC code where the reason is not
known here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

if TYPE_CHECKING:
    from pilothouse.v1.commands_pb2 import Command
    from pilothouse.v1.events_pb2 import Event

DOMAIN = "pilothouse.dev"
"""The domain of our ErrorInfo; a reason of another domain is not one of ours."""

DETAILS_KEY = "grpc-status-details-bin"
"""The trailing metadata that carries google.rpc.Status."""


class PilothouseError(Exception):
    """The base of everything that this package raises."""


@dataclass(frozen=True)
class Violation:
    """One field that breaks a rule of the contract."""

    field: str
    """Its path, such as `event.workflow_id`."""
    description: str
    """What is wrong with it."""


@dataclass(frozen=True)
class Refusal:
    """What an RPC error says, read once from its status and trailing metadata."""

    code: grpc.StatusCode
    message: str
    reason: str = ""
    metadata: Mapping[str, str] | None = None
    violations: tuple[Violation, ...] = ()
    retry_after: float | None = None


class CallError(PilothouseError):
    """A call was refused or did not get through."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.code = refusal.code
        """The gRPC code."""
        self.message = refusal.message
        """What is wrong, for people."""
        self.reason = refusal.reason
        """The name of an ErrorReason without its prefix; empty when the error is not the server's own."""
        self.metadata: Mapping[str, str] = dict(refusal.metadata or {})
        """The words that change from case to case."""
        self.violations = refusal.violations
        """The fields that break a rule."""
        self.retry_after = refusal.retry_after
        """Seconds after which another try may go better; None when the server does not say."""

    def __str__(self) -> str:
        name = self.reason or self.code.name
        fields = "".join(f"; {each.field}: {each.description}" for each in self.violations)
        return f"{name}: {self.message}{fields}"


class InvalidArgument(CallError):
    """A field breaks a rule of the contract."""


class NotFound(CallError):
    """There is no such thing; `metadata` has its id."""


class AlreadyExists(CallError):
    """The request_id was used for a request with other content, or another one has this id or name."""


class FailedPrecondition(CallError):
    """Not in this state."""


class IllegalTransition(FailedPrecondition):
    """The action is not legal in the workflow's state."""

    @property
    def state(self) -> str:
        """The workflow's state."""
        return self.metadata.get("state", "")

    @property
    def action(self) -> str:
        """What was asked for."""
        return self.metadata.get("action", "")

    @property
    def legal_actions(self) -> tuple[str, ...]:
        """What could be asked for instead."""
        words = self.metadata.get("legal_actions", "").split(",")
        return tuple(word.strip() for word in words if word.strip())


class CommandPending(FailedPrecondition):
    """Another command on the workflow has not ended."""

    @property
    def command_id(self) -> str:
        """That command."""
        return self.metadata.get("command_id", "")


class UnsupportedByEngine(FailedPrecondition):
    """The engine that runs the workflow cannot do this."""


class NoExecutor(FailedPrecondition):
    """No engine that takes commands has ever connected for the workflow's source."""


class EngineConnected(FailedPrecondition):
    """The workflow's engine is connected, so it can end the workflow itself."""


class CommandEnded(FailedPrecondition):
    """The command ended before this."""


class AlertResolved(FailedPrecondition):
    """The alert is already resolved."""


class NotConfirmed(FailedPrecondition):
    """What was typed is not what has to be typed."""

    @property
    def expected(self) -> str:
        """What has to be."""
        return self.metadata.get("expected", "")


class WrongState(FailedPrecondition):
    """The act is not possible where the batch, stop or agent stands."""


class Aborted(CallError):
    """Somebody else was first."""


class EtagMismatch(Aborted):
    """The etag is not the current one: read again."""


class ExecutorReplaced(Aborted):
    """Another executor of the same name took over the commands: do not take them back."""


class PermissionDenied(CallError):
    """The caller may not do this."""


class NotCommandOwner(PermissionDenied):
    """The command belongs to another executor."""


class Unauthenticated(CallError):
    """The server does not know who calls."""


class ResourceExhausted(CallError):
    """Over a limit."""


class LimitExceeded(ResourceExhausted):
    """A request, message or batch is over a limit."""


class RateLimited(ResourceExhausted):
    """Too many requests; `retry_after` says when to try again."""


class Unavailable(CallError):
    """The server cannot be reached or cannot answer now: try again."""


class NoSnapshot(Unavailable):
    """There are no metrics yet."""


class DeadlineExceeded(CallError):
    """No answer came in time. What was asked for may have been done."""


class Cancelled(CallError):
    """The other side cancelled the call."""


class Unimplemented(CallError):
    """The server does not know the method."""


class ServerFault(CallError):
    """A fault of the server; `metadata` may have the request_id under which the server logged it."""


class CommandNotEffective(PilothouseError):
    """A command that was waited for ended without effect."""

    def __init__(self, command: Command) -> None:
        super().__init__(command.error.message or "the command expired: no engine did it in time")
        self.command = command
        """The command as it ended: FAILED or EXPIRED."""


class CommandRefused(PilothouseError):
    """Raised by an engine's handler: it cannot do what the command asks. The command is FAILED with these words."""

    def __init__(self, code: str, message: str = "", *, retryable: bool = False) -> None:
        super().__init__(message or code)
        self.code = code
        """For programs, such as "UNKNOWN_RUN"."""
        self.message = message or code
        """For people."""
        self.retryable = retryable
        """Whether asking again may go better."""


class BufferFull(PilothouseError):
    """An executor's buffer has no room for another event."""

    def __init__(self, events: int, size: int) -> None:
        super().__init__(f"the buffer is full: {events} events, {size} bytes")
        self.events = events
        """Events in the buffer."""
        self.size = size
        """Their bytes."""


class NotDelivered(PilothouseError):
    """Events that an executor could not deliver in time. They are still in its buffer unless it was closed."""

    def __init__(self, events: Sequence[Event], cause: PilothouseError | None) -> None:
        why = f": {cause}" if cause else ""
        super().__init__(f"{len(events)} events were not delivered{why}")
        self.events = tuple(events)
        """The events."""
        self.cause = cause
        """The newest error of a call; None when calls did not fail but time ran out."""


BY_REASON: Mapping[str, type[CallError]] = {
    "INVALID_ARGUMENT": InvalidArgument,
    "INVALID_FILTER": InvalidArgument,
    "INVALID_PAGE_TOKEN": InvalidArgument,
    "INVALID_RESUME_TOKEN": InvalidArgument,
    "MALFORMED_REQUEST": InvalidArgument,
    "UNKNOWN_CHANNEL": InvalidArgument,
    "WORKFLOW_NOT_FOUND": NotFound,
    "AGENT_NOT_FOUND": NotFound,
    "COMMAND_NOT_FOUND": NotFound,
    "ALERT_NOT_FOUND": NotFound,
    "RULE_NOT_FOUND": NotFound,
    "RULE_VERSION_NOT_FOUND": NotFound,
    "SILENCE_NOT_FOUND": NotFound,
    "DEAD_EVENT_NOT_FOUND": NotFound,
    "DEAD_EVENT_TRUNCATED": FailedPrecondition,
    "CHANNEL_NOT_FOUND": NotFound,
    "ESCALATION_NOT_FOUND": NotFound,
    "HEARTBEAT_NOT_FOUND": NotFound,
    "DELIVERY_NOT_FOUND": NotFound,
    "QUEUE_NOT_FOUND": NotFound,
    "BATCH_NOT_FOUND": NotFound,
    "EMERGENCY_STOP_NOT_FOUND": NotFound,
    "BUDGET_NOT_FOUND": NotFound,
    "EVENT_NOT_FOUND": NotFound,
    "TRACE_NOT_FOUND": NotFound,
    "CONFIG_VERSION_NOT_FOUND": NotFound,
    "NOT_CONFIRMED": NotConfirmed,
    "WRONG_STATE": WrongState,
    "DELIVERY_OVER": FailedPrecondition,
    "ALREADY_THERE": AlreadyExists,
    "STILL_NAMED": FailedPrecondition,
    "NO_SECRET_KEY": FailedPrecondition,
    "REQUEST_ID_REUSED": AlreadyExists,
    "ILLEGAL_TRANSITION": IllegalTransition,
    "COMMAND_PENDING": CommandPending,
    "UNSUPPORTED_BY_ENGINE": UnsupportedByEngine,
    "NO_EXECUTOR": NoExecutor,
    "ENGINE_CONNECTED": EngineConnected,
    "COMMAND_ENDED": CommandEnded,
    "ALERT_RESOLVED": AlertResolved,
    "ETAG_MISMATCH": EtagMismatch,
    "EXECUTOR_REPLACED": ExecutorReplaced,
    "NOT_COMMAND_OWNER": NotCommandOwner,
    "ORIGIN_NOT_ALLOWED": PermissionDenied,
    "HOST_NOT_ALLOWED": PermissionDenied,
    "LIMIT_EXCEEDED": LimitExceeded,
    "RATE_LIMITED": RateLimited,
    "NO_LEADER": Unavailable,
    "LOG_UNAVAILABLE": Unavailable,
    "DATABASE_UNAVAILABLE": Unavailable,
    "DRAINING": Unavailable,
    "SERVER_UNREACHABLE": Unavailable,
    "DEADLINE_EXCEEDED": DeadlineExceeded,
    "NO_SNAPSHOT": NoSnapshot,
    "NO_SUCH_METHOD": Unimplemented,
    "INTERNAL": ServerFault,
}
"""The class of each reason of the contract."""

BY_CODE: Mapping[grpc.StatusCode, type[CallError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgument,
    grpc.StatusCode.OUT_OF_RANGE: InvalidArgument,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExists,
    grpc.StatusCode.FAILED_PRECONDITION: FailedPrecondition,
    grpc.StatusCode.ABORTED: Aborted,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ResourceExhausted,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.CANCELLED: Cancelled,
    grpc.StatusCode.UNIMPLEMENTED: Unimplemented,
    grpc.StatusCode.INTERNAL: ServerFault,
    grpc.StatusCode.UNKNOWN: ServerFault,
    grpc.StatusCode.DATA_LOSS: ServerFault,
}
"""The class of each code, for reasons that are not known here and errors that are not the server\'s own."""


class _Call(Protocol):
    """What a finished call tells, whichever of grpc's two worlds it is from."""

    def code(self) -> grpc.StatusCode: ...
    def details(self) -> str | None: ...
    def trailing_metadata(self) -> Iterable[tuple[str, str | bytes]] | None: ...


def from_rpc_error(error: grpc.RpcError) -> CallError:
    """`error` of grpc or grpc.aio as one of ours. Details that cannot be read are left out, never raised."""
    # Every RpcError that a call raises is a call too; grpc's types do not say so.
    call = cast("_Call", error)
    return from_status(call.code(), call.details() or "", call.trailing_metadata() or ())


def from_status(
    code: grpc.StatusCode, message: str, trailing_metadata: Iterable[tuple[str, str | bytes]] = ()
) -> CallError:
    """The error of a call that ended with `code`."""
    refusal = _read(code, message, trailing_metadata)
    return BY_REASON.get(refusal.reason, BY_CODE.get(code, CallError))(refusal)


def _read(
    code: grpc.StatusCode, message: str, trailing_metadata: Iterable[tuple[str, str | bytes]]
) -> Refusal:
    raw = next((value for key, value in trailing_metadata if key == DETAILS_KEY), None)
    if not isinstance(raw, bytes):
        return Refusal(code, message)
    try:
        details = status_pb2.Status.FromString(raw).details
        info, bad, retry = (
            error_details_pb2.ErrorInfo(),
            error_details_pb2.BadRequest(),
            error_details_pb2.RetryInfo(),
        )
        found = {
            each.DESCRIPTOR.full_name
            for each in (info, bad, retry)
            for any_ in details
            if any_.Unpack(each)
        }
    except DecodeError:
        return Refusal(code, message)
    ours = info.domain == DOMAIN
    return Refusal(
        code,
        message,
        reason=info.reason if ours else "",
        metadata=dict(info.metadata) if ours else {},
        violations=tuple(Violation(each.field, each.description) for each in bad.field_violations),
        retry_after=retry.retry_delay.ToMilliseconds() / 1000
        if retry.DESCRIPTOR.full_name in found
        else None,
    )
