"""What the projector notes of events besides what they say of workflows: when engines were heard, and what was used.

Each shard writes rows of its own, and an event is given once: so what was used is exact however often its projector was
killed, and no two projectors wait for each other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sqlalchemy import Connection, text

from pilothouse_server.adapters.sql.workflow_rows import LARGEST
from pilothouse_server.domain.events import Event
from pilothouse_server.domain.projection.workflow import WorkflowRecord
from pilothouse_server.domain.settling import SERVER_SOURCE

SPANS = (60, 3600)
"""Seconds of which usage is summed up."""
SECOND_US = 1_000_000

Noting = Callable[[Connection, Sequence[Event], Mapping[str, WorkflowRecord]], None]

_HEARD = text("""
INSERT INTO engines_heard (source, shard, heard_us) VALUES (:source, :shard, :heard_us)
ON CONFLICT (source, shard) DO UPDATE SET heard_us = excluded.heard_us
WHERE engines_heard.heard_us <= excluded.heard_us - 1000000
""")
_ADDED = "{0} = CASE WHEN usage_spans.{0} > {1} - excluded.{0} THEN {1} ELSE usage_spans.{0} + excluded.{0} END"
_USED = text(
    """
INSERT INTO usage_spans (of_all, workflow_type, seconds, start_us, shard, tokens, cost_micros)
VALUES (:of_all, :workflow_type, :seconds, :start_us, :shard, :tokens, :cost_micros)
ON CONFLICT (of_all, workflow_type, seconds, start_us, shard) DO UPDATE SET
"""
    + ", ".join(_ADDED.format(name, LARGEST) for name in ("tokens", "cost_micros"))
)
"""Sums that no column can hold stop at the largest that it can: nobody who reports them stops the projector."""


def noting(shard: int = 0) -> Noting:
    """Notes both in the projector's transaction."""

    def note(
        connection: Connection, events: Sequence[Event], workflows: Mapping[str, WorkflowRecord]
    ) -> None:
        _note_heard(connection, events, shard)
        _note_used(connection, events, workflows, shard)

    return note


def _note_heard(connection: Connection, events: Sequence[Event], shard: int) -> None:
    heard: dict[str, int] = {}
    for event in events:
        if event.source and event.source != SERVER_SOURCE:
            heard[event.source] = max(heard.get(event.source, 0), event.receive_us)
    if heard:
        rows = [{"source": name, "shard": shard, "heard_us": at} for name, at in heard.items()]
        connection.execute(_HEARD, rows)


def _note_used(
    connection: Connection,
    events: Sequence[Event],
    workflows: Mapping[str, WorkflowRecord],
    shard: int,
) -> None:
    """Under the type that is known of the workflow when it is told."""
    used: dict[tuple[int, str, int, int], tuple[int, int]] = {}
    for event in events:
        usage = event.usage
        if usage is None or not event.workflow_id:
            continue
        record = workflows.get(event.workflow_id)
        kind = event.workflow_type if record is None else record.type[1]
        added = usage.input_tokens + usage.output_tokens
        for seconds in SPANS:
            start_us = event.receive_us - event.receive_us % (seconds * SECOND_US)
            for key in ((0, kind, seconds, start_us), (1, "", seconds, start_us)):
                tokens, cost = used.get(key, (0, 0))
                used[key] = (tokens + added, cost + usage.cost_micros)
    if used:
        connection.execute(_USED, [_row(key, sums, shard) for key, sums in used.items()])


def _row(key: tuple[int, str, int, int], sums: tuple[int, int], shard: int) -> dict[str, int | str]:
    of_all, kind, seconds, start_us = key
    return {
        "of_all": of_all,
        "workflow_type": kind,
        "seconds": seconds,
        "start_us": start_us,
        "shard": shard,
        "tokens": min(sums[0], LARGEST),
        "cost_micros": min(sums[1], LARGEST),
    }
