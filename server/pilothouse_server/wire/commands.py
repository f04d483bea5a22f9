"""Commands and the engines that take them ⇄ the contract."""

from __future__ import annotations

from collections.abc import Iterable

from pilothouse.v1 import commands_pb2 as pb
from pilothouse.v1 import enums_pb2, events_pb2
from pilothouse_server.domain.commands import (
    Availability,
    Boundary,
    Capability,
    Command,
    Executor,
    Scope,
)
from pilothouse_server.domain.workflows import Action
from pilothouse_server.services.executors import Offered, StreamItem
from pilothouse_server.services.watch import CaughtUp, Heartbeat, Reset
from pilothouse_server.wire.events import error_to_proto
from pilothouse_server.wire.times import optional_timestamp, timestamp


def command_to_proto(command: Command) -> pb.Command:
    """The contract's message of a command."""
    return pb.Command(
        id=command.id,
        action=enums_pb2.ControlAction.ValueType(command.action),
        workflow_id=command.workflow_id,
        source=command.source,
        state=pb.CommandState.ValueType(command.state),
        reason=command.reason,
        actor=command.actor,
        request_id=command.request_id,
        request_time=timestamp(command.request_us),
        accept_time=optional_timestamp(command.accept_us),
        effect_time=optional_timestamp(command.effect_us),
        end_time=optional_timestamp(command.end_us),
        expire_time=timestamp(command.expire_us),
        error=None if command.error is None else error_to_proto(command.error),
        attempt=command.attempt,
        boundary=pb.CommandBoundary.ValueType(command.boundary),
        scope=pb.CommandScope.ValueType(command.scope),
        agent_id=command.agent_id,
        queue=command.queue,
        workflow_type=command.workflow_type,
        agent_type=command.agent_type,
        pool_size=command.pool_size,
        batch_id=command.batch_id,
        emergency_stop_id=command.stop_id,
        budget_id=command.budget_id,
    )


def availability_to_proto(availability: Availability) -> pb.ActionAvailability:
    """Whether an action can be asked for now."""
    return pb.ActionAvailability(
        action=enums_pb2.ControlAction.ValueType(availability.action),
        available=availability.available,
        reason=availability.reason,
    )


def executor_to_proto(executor: Executor) -> pb.Executor:
    """The contract's message of an executor."""
    return pb.Executor(
        source=executor.source,
        capabilities=[
            pb.Capability(
                action=enums_pb2.ControlAction.ValueType(capability.action),
                scope=pb.CommandScope.ValueType(capability.scope),
                boundary=pb.CommandBoundary.ValueType(capability.boundary),
                selective=capability.selective,
            )
            for capability in executor.capabilities
        ],
        connected=executor.connected,
        connect_time=timestamp(executor.connect_us),
        last_seen_time=timestamp(executor.last_seen_us),
    )


def capabilities_of(capabilities: Iterable[pb.Capability]) -> tuple[Capability, ...]:
    """What an executor declared. Its message was validated: the numbers are those of the contract."""
    return tuple(
        Capability(Action(each.action), Scope(each.scope), Boundary(each.boundary), each.selective)
        for each in capabilities
    )


def item_to_proto(item: StreamItem, now_us: int) -> pb.WatchCommandsResponse:
    """One message of the stream to an executor."""
    match item:
        case Offered(token=token, command=command):
            return pb.WatchCommandsResponse(resume_token=token, command=command_to_proto(command))
        case CaughtUp(token=token):
            return pb.WatchCommandsResponse(resume_token=token, caught_up=events_pb2.CaughtUp())
        case Heartbeat(token=token):
            heartbeat = events_pb2.Heartbeat(send_time=timestamp(now_us))
            return pb.WatchCommandsResponse(resume_token=token, heartbeat=heartbeat)
        case Reset(token=token, reason=reason):
            return pb.WatchCommandsResponse(
                resume_token=token, reset=events_pb2.Reset(reason=reason)
            )
