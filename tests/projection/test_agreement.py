"""The numbers and the rows are two folds over one log: they must tell of the same states."""

from __future__ import annotations

from hypothesis import given

from pilothouse_server.domain.events import (
    STAGE_TYPES,
    TASK_TYPES,
    WORKFLOW_TYPES,
    Event,
    signal_of,
)
from pilothouse_server.domain.metrics.fold import MetricsState
from tests.projection.build import fold, reorderings

OF_WORKFLOWS = WORKFLOW_TYPES | STAGE_TYPES | TASK_TYPES


@given(reorderings())
def test_metrics_and_rows_agree_on_every_workflow(both: tuple[list[Event], list[Event]]) -> None:
    for history in both:
        metrics = MetricsState()
        metrics.fold(signal_of(each) for each in history)
        remembered = [*metrics.memory.in_flight.values(), *metrics.memory.ended.values()]
        told = {each.workflow_id for each in history if each.type in OF_WORKFLOWS}
        rows = {name: int(record.state) for name, record in fold(history).workflows.items()}
        assert {each.id: each.state for each in remembered} == {name: rows[name] for name in told}
