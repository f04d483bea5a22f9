"""Escalations over gRPC, on both databases: made, changed and refused."""

from __future__ import annotations

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask

from pilothouse.v1 import channels_pb2_grpc, escalations_pb2
from pilothouse.v1 import escalations_pb2_grpc as escalations_grpc
from tests.channels.house import escalation, make, refused, webhook


async def test_an_escalation_is_made_changed_and_deleted(
    channels: channels_pb2_grpc.ChannelServiceAsyncStub,
    escalations: escalations_grpc.EscalationServiceAsyncStub,
) -> None:
    await make(channels, webhook())
    create = escalations_pb2.CreateEscalationRequest(escalation=escalation(0, 300))
    made = (await escalations.CreateEscalation(create)).escalation
    assert (made.id, made.etag, len(made.steps)) == ("on-call", "1", 2)
    assert not made.HasField("repeat_interval")

    change = escalations_pb2.UpdateEscalationRequest(
        escalation=escalations_pb2.Escalation(id="on-call", repeat_interval=Duration(seconds=600)),
        update_mask=FieldMask(paths=["repeat_interval"]),
        etag="1",
    )
    changed = (await escalations.UpdateEscalation(change)).escalation
    assert (changed.repeat_interval.seconds, changed.etag) == (600, "2")
    assert changed.steps == made.steps
    assert (await refused(escalations.UpdateEscalation(change))).reason == "ETAG_MISMATCH"
    listed = await escalations.ListEscalations(escalations_pb2.ListEscalationsRequest())
    assert listed.escalations == [changed]

    delete = escalations_pb2.DeleteEscalationRequest(escalation_id="on-call")
    await escalations.DeleteEscalation(delete)
    assert (await refused(escalations.DeleteEscalation(delete))).reason == "ESCALATION_NOT_FOUND"


@pytest.mark.parametrize(
    ("wanted", "field", "why"),
    [
        (escalation(300, 0), "escalation.steps[1].after", "later than the step before"),
        (escalation(0, 0), "escalation.steps[1].after", "later than the step before"),
        (escalation(0, channel="nobody"), "escalation.steps[0].channels", "no channel 'nobody'"),
        (escalation(), "escalation.steps", ""),
    ],
)
async def test_what_an_escalation_cannot_be_is_said_by_field(
    wanted: escalations_pb2.Escalation,
    field: str,
    why: str,
    channels: channels_pb2_grpc.ChannelServiceAsyncStub,
    escalations: escalations_grpc.EscalationServiceAsyncStub,
) -> None:
    await make(channels, webhook())
    request = escalations_pb2.CreateEscalationRequest(escalation=wanted)
    error = await refused(escalations.CreateEscalation(request))
    (violation,) = error.violations
    assert (violation.field, why in violation.description) == (field, True)
