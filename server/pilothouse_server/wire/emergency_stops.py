"""Emergency stops ⇄ the contract."""

from __future__ import annotations

from pilothouse.v1 import emergency_stops_pb2 as pb
from pilothouse_server.domain.stops import Kind, Scope, Stage, Target
from pilothouse_server.services.stop_ports import StopView
from pilothouse_server.services.stops import Preview
from pilothouse_server.wire.events import error_to_proto
from pilothouse_server.wire.times import duration, optional_timestamp, timestamp


def scope_from_proto(message: pb.EmergencyScope) -> Scope:
    """What a stop is to be about; an absent one is everything."""
    return Scope(message.workflow_type, message.agent_type)


def stop_to_proto(view: StopView) -> pb.EmergencyStop:
    """The contract's message of a stop."""
    stop = view.stop
    took = None if stop.quiet_us is None else duration(stop.quiet_us - stop.stage_us)
    return pb.EmergencyStop(
        id=stop.id,
        stage=pb.EmergencyStage.ValueType(stop.stage),
        scope=pb.EmergencyScope(
            workflow_type=stop.scope.workflow_type, agent_type=stop.scope.agent_type
        ),
        state=pb.EmergencyStopState.ValueType(stop.state),
        reason=stop.reason,
        actor=stop.actor,
        start_time=timestamp(stop.start_us),
        stage_time=timestamp(stop.stage_us),
        quiet_time=optional_timestamp(stop.quiet_us),
        time_to_quiet=took,
        counts=[
            pb.EmergencyCount(
                kind=pb.EmergencyTargetKind.ValueType(kind),
                state=pb.EmergencyTargetState.ValueType(state),
                count=count,
            )
            for (kind, state), count in sorted(stop.counts.items())
        ],
        not_obeyed=map(target_to_proto, view.not_obeyed),
        released_by=stop.released_by,
        release_reason=stop.release_reason,
        release_time=optional_timestamp(stop.release_us),
        end_time=optional_timestamp(stop.end_us),
        etag=stop.etag,
    )


def target_to_proto(target: Target) -> pb.EmergencyTarget:
    """The contract's message of a target."""
    return pb.EmergencyTarget(
        kind=pb.EmergencyTargetKind.ValueType(target.kind),
        id=target.id,
        state=pb.EmergencyTargetState.ValueType(target.state),
        command_id=target.command_id,
        error=None if target.error is None else error_to_proto(target.error),
        update_time=timestamp(target.update_us),
    )


def preview_to_proto(preview: Preview, stage: Stage) -> pb.PreviewEmergencyStopResponse:
    """The contract's message of what a stop would do."""
    return pb.PreviewEmergencyStopResponse(
        engines=preview.asked[Kind.ENGINE],
        agents=preview.asked[Kind.AGENT],
        workflows=preview.asked[Kind.WORKFLOW],
        not_able=map(target_to_proto, preview.not_able),
        not_able_count=preview.not_able_count,
        confirmation=stage.confirmation,
    )
