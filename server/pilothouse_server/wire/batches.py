"""Batches ⇄ the contract."""

from __future__ import annotations

from pilothouse.v1 import batches_pb2 as pb
from pilothouse.v1 import enums_pb2
from pilothouse_server.domain.batches import BatchItem, BatchView, ItemOutcome, Preview
from pilothouse_server.domain.workflows import Action
from pilothouse_server.services.batch_rows import Selection
from pilothouse_server.services.batches import Act, Draft
from pilothouse_server.wire.events import error_to_proto
from pilothouse_server.wire.times import optional_timestamp, timestamp

Asked = (
    pb.StartBatchRequest | pb.StopBatchRequest | pb.ContinueBatchRequest | pb.AbandonBatchRequest
)


def draft_of(request: pb.CreateBatchRequest, actor: str) -> Draft:
    """What somebody asks to be made."""
    selection = Selection(Action(request.action), request.filter, tuple(request.workflow_ids))
    # A UUID is one value however it is written.
    return Draft(selection, request.reason, request.rate, request.request_id.lower(), actor)


def act_of(request: Asked, actor: str) -> Act:
    """What somebody does with a batch."""
    reason = "" if isinstance(request, pb.StartBatchRequest) else request.reason
    return Act(request.batch_id, actor, reason, request.request_id.lower())


def batch_to_proto(view: BatchView) -> pb.Batch:
    """The contract's message of a batch."""
    batch, counts = view
    return pb.Batch(
        id=batch.id,
        action=enums_pb2.ControlAction.ValueType(batch.action),
        filter=batch.filter,
        reason=batch.reason,
        actor=batch.actor,
        state=pb.BatchState.ValueType(batch.state),
        size=batch.size,
        rate=batch.rate,
        preview=_preview_to_proto(batch.preview),
        counts=[
            pb.BatchCount(outcome=_outcome(outcome), count=count)
            for outcome, count in counts.items()
        ],
        create_time=timestamp(batch.create_us),
        start_time=optional_timestamp(batch.start_us),
        end_time=optional_timestamp(batch.end_us),
        expire_time=timestamp(batch.expire_us),
        etag=batch.etag,
    )


def item_to_proto(item: BatchItem) -> pb.BatchItem:
    """The contract's message of one workflow of a batch."""
    return pb.BatchItem(
        workflow_id=item.workflow_id,
        outcome=_outcome(item.outcome),
        command_id=item.command_id,
        error=None if item.error is None else error_to_proto(item.error),
        state=enums_pb2.WorkflowState.ValueType(item.state),
    )


def _preview_to_proto(preview: Preview) -> pb.BatchPreview:
    return pb.BatchPreview(
        states=[
            pb.BatchStateCount(state=enums_pb2.WorkflowState.ValueType(state), count=count)
            for state, count in preview.states.items()
        ],
        types=[pb.BatchTypeCount(workflow_type=name, count=count) for name, count in preview.types],
        commands_pending=preview.pending,
        acceptable=preview.acceptable,
        refusals=[
            pb.BatchRefusal(
                reason=each.reason,
                message=each.message,
                count=each.size,
                workflow_ids=each.workflow_ids,
            )
            for each in preview.refusals
        ],
    )


def _outcome(outcome: ItemOutcome) -> pb.BatchOutcome.ValueType:
    return pb.BatchOutcome.ValueType(outcome)
