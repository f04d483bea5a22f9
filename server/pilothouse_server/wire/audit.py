"""Records of the audit log ⇄ the contract."""

from __future__ import annotations

from pilothouse.v1 import audit_pb2 as pb
from pilothouse_server.domain.audit import Entry
from pilothouse_server.services.audit import Progress
from pilothouse_server.wire.events import error_to_proto
from pilothouse_server.wire.times import timestamp


def entry_to_proto(entry: Entry) -> pb.AuditEntry:
    """The contract's message of a record."""
    return pb.AuditEntry(
        sequence=entry.sequence,
        record_time=timestamp(entry.record_us),
        actor=entry.actor,
        verb=entry.verb,
        target_kind=entry.target_kind,
        target_id=entry.target_id,
        reason=entry.reason,
        before=entry.before,
        after=entry.after,
        outcome=pb.AuditOutcome.ValueType(entry.outcome),
        error=None if entry.error is None else error_to_proto(entry.error),
        request_id=entry.request_id,
        command_id=entry.command_id,
        batch_id=entry.batch_id,
        emergency_stop_id=entry.stop_id,
        previous_hash=entry.previous_hash,
        hash=entry.hash,
    )


def progress_to_proto(progress: Progress) -> pb.VerifyAuditResponse:
    """How far a proof is, or its verdict."""
    return pb.VerifyAuditResponse(
        checked=progress.checked,
        complete=progress.complete,
        intact=not progress.verdict.problem,
        problem=progress.verdict.problem,
        problem_sequence=progress.verdict.sequence,
        last_sequence=progress.link.sequence,
        last_hash=progress.link.hash if progress.link.sequence else "",
    )
