"""What each event means for the numbers."""

from __future__ import annotations

import pytest

from pilothouse_server.domain.events import EventType
from pilothouse_server.domain.metrics.fold import MetricsState
from pilothouse_server.domain.metrics.limits import SECOND_US, Limits
from pilothouse_server.domain.metrics.series import Cell
from pilothouse_server.domain.metrics.snapshot import OTHER, Dimension
from tests.metrics.support import T0, folded, settle, signal

E = EventType
HOUR = 3


def window(
    state: MetricsState, dimension: Dimension = Dimension.FLEET, name: str = "", length: int = HOUR
) -> Cell:
    """A window of a series, settled."""
    settle(state)
    series = state.series.find(dimension, name)
    assert series is not None
    return series.windows[length]


def live(state: MetricsState, kind: str = "") -> list[int]:
    """Queued, running, waiting, paused, tasks that wait."""
    series = state.series.types[kind] if kind else state.series.fleet
    return series.live


def test_a_duration_is_from_the_start_to_the_end() -> None:
    state = folded(
        signal(E.WORKFLOW_CREATED, 0),
        signal(E.WORKFLOW_STARTED, 10),
        signal(E.WORKFLOW_COMPLETED, 15, duration=99),
    )
    assert window(state).durations.sum_us == 5 * SECOND_US


def test_a_workflow_that_never_started_counts_from_its_creation() -> None:
    state = folded(signal(E.WORKFLOW_CREATED, 0), signal(E.WORKFLOW_FAILED, 7))
    assert window(state).durations.sum_us == 7 * SECOND_US


def test_a_later_attempt_counts_from_its_retry() -> None:
    state = folded(
        signal(E.WORKFLOW_STARTED, 0, attempt=1),
        signal(E.WORKFLOW_FAILED, 10, attempt=1),
        signal(E.WORKFLOW_RETRIED, 20, attempt=2),
        signal(E.WORKFLOW_COMPLETED, 23, attempt=2),
    )
    hour = window(state)
    assert (hour.completed, hour.failed, hour.durations.sum_us) == (1, 1, 13 * SECOND_US)
    assert state.totals() == (1, 1, 1, 0, 4)


def test_without_a_start_the_sources_own_duration_counts() -> None:
    state = folded(signal(E.WORKFLOW_COMPLETED, 10, duration=4))
    assert window(state).durations.sum_us == 4 * SECOND_US


def test_without_any_start_no_duration_is_invented() -> None:
    hour = window(folded(signal(E.WORKFLOW_COMPLETED, 10)))
    assert (hour.completed, hour.durations.count) == (1, 0)


def test_a_late_start_corrects_a_duration_that_was_counted() -> None:
    state = folded(signal(E.WORKFLOW_CREATED, 0), signal(E.WORKFLOW_COMPLETED, 10))
    settle(state)
    state.fold([signal(E.WORKFLOW_STARTED, 8, received=11)])
    hour = window(state)
    assert (hour.durations.count, hour.durations.sum_us) == (1, 2 * SECOND_US)


def test_clocks_that_disagree_give_zero_and_are_counted() -> None:
    state = folded(signal(E.WORKFLOW_STARTED, 10), signal(E.WORKFLOW_COMPLETED, 8, received=11))
    assert window(state).durations.pack()[:3] == (1, 0, 1)
    assert state.counters().skewed == 1


def test_cancelled_is_in_neither_rate_nor_latency() -> None:
    state = folded(signal(E.WORKFLOW_STARTED, 0), signal(E.WORKFLOW_CANCELLED, 5))
    hour = window(state)
    assert (hour.cancelled, hour.completed, hour.failed, hour.durations.count) == (1, 0, 0, 0)


def test_the_first_end_stands() -> None:
    state = folded(
        signal(E.WORKFLOW_STARTED, 0),
        signal(E.WORKFLOW_COMPLETED, 6),
        signal(E.WORKFLOW_FAILED, 5, received=7),
    )
    hour = window(state)
    assert (hour.completed, hour.failed) == (0, 1)
    assert state.totals()[1:4] == (0, 1, 0)


@pytest.mark.parametrize(
    ("events", "counts"),
    [
        ([E.WORKFLOW_CREATED], [1, 0, 0, 0]),
        ([E.WORKFLOW_CREATED, E.WORKFLOW_STARTED], [0, 1, 0, 0]),
        ([E.WORKFLOW_STARTED, E.WORKFLOW_WAITING], [0, 0, 1, 0]),
        ([E.WORKFLOW_STARTED, E.WORKFLOW_PAUSED], [0, 0, 0, 1]),
        ([E.WORKFLOW_STARTED, E.WORKFLOW_PAUSED, E.WORKFLOW_RESUMED], [0, 1, 0, 0]),
        ([E.WORKFLOW_CREATED, E.WORKFLOW_PAUSED, E.WORKFLOW_RESUMED], [1, 0, 0, 0]),
        ([E.WORKFLOW_STARTED, E.WORKFLOW_FAILED], [0, 0, 0, 0]),
        ([E.WORKFLOW_STARTED, E.WORKFLOW_FAILED, E.WORKFLOW_RETRIED], [1, 0, 0, 0]),
    ],
)
def test_states_of_now(events: list[EventType], counts: list[int]) -> None:
    state = folded(*(signal(kind, at, kind="build") for at, kind in enumerate(events)))
    assert live(state)[:4] == counts
    assert live(state, "build")[:4] == counts


def test_work_that_is_seen_means_the_workflow_runs() -> None:
    state = folded(signal(E.WORKFLOW_CREATED, 0), signal(E.STAGE_STARTED, 1, stage="plan"))
    assert live(state)[:2] == [0, 1]


def test_tasks_wait_until_they_start() -> None:
    state = folded(
        signal(E.WORKFLOW_STARTED, 0),
        signal(E.TASK_QUEUED, 1, task="t1"),
        signal(E.TASK_QUEUED, 1, task="t2"),
        signal(E.TASK_ASSIGNED, 2, task="t1", agent="a1"),
    )
    assert live(state)[4] == 2
    state.fold([signal(E.TASK_STARTED, 3, task="t1", agent="a1")])
    assert live(state)[4] == 1
    assert state.agents.working == {"a1": 1}
    state.fold([signal(E.WORKFLOW_CANCELLED, 4)])
    assert (live(state)[4], state.agents.working) == (0, {})


def test_a_retrying_task_failed_once_and_waits_again() -> None:
    repeated = signal(E.TASK_RETRYING, 3, task="t1", agent="a1", agent_type="coder")
    state = folded(signal(E.TASK_STARTED, 0, task="t1", agent="a1"), repeated, repeated)
    agent = window(state, Dimension.AGENT, "a1")
    assert (agent.started, agent.failed, agent.durations.sum_us) == (1, 1, 3 * SECOND_US)
    assert live(state)[4] == 1


def test_stages_and_tasks_have_series_of_their_own() -> None:
    state = folded(
        signal(E.STAGE_STARTED, 0, stage="plan"),
        signal(E.STAGE_SKIPPED, 1, stage="test"),
        signal(E.TASK_STARTED, 0, task="t1", agent="a1", agent_type="coder"),
        signal(E.TASK_COMPLETED, 2, task="t1"),
        signal(E.STAGE_COMPLETED, 4, stage="plan"),
    )
    plan = window(state, Dimension.STAGE, "plan")
    assert (plan.started, plan.completed, plan.durations.sum_us) == (1, 1, 4 * SECOND_US)
    assert window(state, Dimension.STAGE, "test").pack() == (0, 0, 0, 0, ())
    for dimension, name in ((Dimension.AGENT, "a1"), (Dimension.AGENT_TYPE, "coder")):
        assert window(state, dimension, name).pack()[:2] == (1, 1)
    assert window(state).completed == 0


def test_windows_slide() -> None:
    state = folded(signal(E.WORKFLOW_COMPLETED, 0))
    for seconds, counted in ((59, [1, 1, 1, 1]), (60, [0, 1, 1, 1]), (300, [0, 0, 1, 1])):
        settle(state, T0 + seconds * SECOND_US)
        assert [cell.completed for cell in state.series.fleet.windows] == counted
    settle(state, T0 + 3_600 * SECOND_US)
    assert [cell.completed for cell in state.series.fleet.windows] == [0, 0, 0, 0]


def test_late_events_correct_totals_and_states_but_no_bucket() -> None:
    state = folded(signal(E.WORKFLOW_STARTED, 0), signal(E.WORKFLOW_COMPLETED, 5, received=126))
    assert window(state).completed == 0
    assert state.totals().completed == 1
    assert live(state)[1] == 0
    assert state.counters().late == 1


def test_what_is_unknown_and_old_is_counted_and_left_out() -> None:
    state = folded(signal(E.WORKFLOW_COMPLETED, 0, received=901))
    assert state.totals().workflows == 0
    assert state.counters().beyond_horizon == 1


def test_a_repeat_after_fourteen_minutes_is_still_known() -> None:
    end = signal(E.WORKFLOW_COMPLETED, 5, kind="build")
    state = folded(signal(E.WORKFLOW_STARTED, 0, kind="build"), end)
    for minute in range(1, 15):
        state.fold([signal(E.LOG, minute * 60, event_id=str(minute))])
    assert set(state.memory.tombstones) == {"w1"}
    state.fold([end._replace(receive_us=T0 + 850 * SECOND_US)])
    assert state.totals() == (1, 1, 0, 0, 17)
    assert state.counters().duplicates == 1


def test_what_ended_is_forgotten_after_fifteen_minutes() -> None:
    state = folded(signal(E.WORKFLOW_COMPLETED, 0))
    state.fold(signal(E.LOG, 890 + n, event_id=str(n)) for n in range(20))
    state.fold([signal(E.WORKFLOW_STARTED, 911, "w2"), signal(E.WORKFLOW_STARTED, 912, "w2")])
    assert list(state.memory) == ["w2"]


def test_a_tombstone_comes_back_to_life_when_it_is_retried() -> None:
    state = folded(
        signal(E.WORKFLOW_STARTED, 0, attempt=1, kind="build"),
        signal(E.WORKFLOW_FAILED, 5, attempt=1),
        signal(E.WORKFLOW_STARTED, 200, "w2"),
        signal(E.WORKFLOW_STARTED, 201, "w3"),
    )
    assert "w1" in state.memory.tombstones
    state.fold([signal(E.WORKFLOW_RETRIED, 300, attempt=2)])
    assert live(state, "build")[:2] == [1, 0]
    state.fold([signal(E.WORKFLOW_COMPLETED, 310, attempt=2)])
    assert state.totals()[:3] == (3, 1, 1)


def test_names_over_the_limit_are_counted_together() -> None:
    state = MetricsState(Limits(names=dict.fromkeys(list(Dimension)[1:], 2)))
    state.fold(signal(E.STAGE_STARTED, n, stage=f"s{n % 4}", attempt=1) for n in range(8))
    settle(state)
    assert sorted(state.series.stages) == [OTHER, "s0", "s1"]
    assert state.counters().other_names == 2


def test_a_name_makes_room_after_an_hour_of_silence() -> None:
    state = MetricsState(Limits(names=dict.fromkeys(list(Dimension)[1:], 1)))
    state.fold([signal(E.STAGE_STARTED, 0, stage="old", attempt=1)])
    state.fold([signal(E.WORKFLOW_STARTED, 3_606, "w9")])
    state.fold([signal(E.STAGE_STARTED, 3_607, "w9", stage="new", attempt=1)])
    settle(state)
    assert sorted(state.series.stages) == ["new"]


def test_the_longest_silent_workflow_is_forgotten_over_the_limit() -> None:
    state = MetricsState(Limits(in_flight=2))
    state.fold([signal(E.WORKFLOW_STARTED, n, f"w{n}", kind="build") for n in range(2)])
    state.fold([signal(E.TASK_QUEUED, 2, "w0", task="t1")])
    state.fold([signal(E.WORKFLOW_STARTED, 3, "w2")])
    assert list(state.memory.in_flight) == ["w0", "w2"]
    assert live(state) == [0, 2, 0, 0, 1]
    assert state.counters().evicted == 1


def test_tombstones_over_the_limit_are_forgotten_early() -> None:
    state = MetricsState(Limits(ended=5))
    state.fold(signal(E.WORKFLOW_COMPLETED, n, f"w{n}") for n in range(10))
    state.fold([signal(E.LOG, 10)])
    assert list(state.memory) == ["w5", "w6", "w7", "w8", "w9"]
    assert state.counters().evicted == 5


def test_jumps_that_the_table_does_not_have_are_believed_and_counted() -> None:
    state = folded(signal(E.WORKFLOW_CREATED, 0), signal(E.WORKFLOW_COMPLETED, 1))
    assert state.totals().completed == 1
    assert state.counters().illegal_transitions == 1


def test_a_time_ahead_is_counted() -> None:
    state = folded(signal(E.WORKFLOW_STARTED, 0, future=True))
    assert state.counters().future == 1


def test_agents_are_online_by_the_time_of_receipt() -> None:
    state = folded(
        signal(E.AGENT_HEARTBEAT, 0, agent="a1", received=100, active=1),
        signal(E.AGENT_HEARTBEAT, 50, agent="a2"),
        signal(E.AGENT_REGISTERED, 90, agent="a3"),
        signal(E.AGENT_DRAINING, 95, agent="a3"),
        signal(E.AGENT_OFFLINE, 99, agent="a4"),
    )
    assert state.agents.count(T0 + 105 * SECOND_US, 30 * SECOND_US) == (2, 1, 1, 3, 4)
    assert state.agents.count(T0 + 90_000 * SECOND_US, 30 * SECOND_US) == (0, 0, 0, 0, 0)


def test_an_agent_that_said_goodbye_comes_back() -> None:
    state = folded(
        signal(E.AGENT_OFFLINE, 5, agent="a1"),
        signal(E.AGENT_HEARTBEAT, 4, agent="a1", received=6),
    )
    assert state.agents.by_id["a1"].deregistered
    state.fold([signal(E.AGENT_HEARTBEAT, 7, agent="a1")])
    assert not state.agents.by_id["a1"].deregistered


def test_a_repeated_message_is_a_duplicate() -> None:
    state = folded(signal(E.LOG, 0, event_id="x"), signal(E.LOG, 0, event_id="x"))
    assert state.counters().duplicates == 1


def test_a_long_workflow_does_not_keep_what_ended_long_ago() -> None:
    state = MetricsState()
    for n in range(2_000):
        state.fold(
            [
                signal(E.TASK_STARTED, n * 10, task=f"t{n}"),
                signal(E.TASK_COMPLETED, n * 10 + 1, task=f"t{n}"),
            ]
        )
    assert len(state.memory.in_flight["w1"].tasks) < 200
