"""The state of the fleet in one word, with its reasons."""

from __future__ import annotations

import pytest

from pilothouse_server.domain.metrics.fold import MetricsState
from pilothouse_server.domain.metrics.health import judge
from pilothouse_server.domain.metrics.limits import SECOND_US
from pilothouse_server.domain.metrics.snapshot import (
    AgentCounts,
    FiringAlerts,
    HealthState,
    StateCounts,
)
from tests.metrics.support import made

FLEET = made(MetricsState()).fleet
CALM = AgentCounts(online=2, busy=0, draining=0, known=2, seen=2)
WAITING = StateCounts(queued=0, running=1, waiting=0, paused=0, queue_depth=3)


@pytest.mark.parametrize(
    ("agents", "firing", "lag", "state", "reason"),
    [
        (CALM, (0, 0), 0, HealthState.HEALTHY, None),
        (CALM, (1, 0), 0, HealthState.UNHEALTHY, "1 critical alert fires"),
        (CALM, (0, 2), 0, HealthState.DEGRADED, "2 warnings fire"),
        (CALM, (0, 0), 6, HealthState.DEGRADED, "the reader is 6 s behind the log"),
        (CALM, (0, 0), 31, HealthState.UNHEALTHY, "the reader is 31 s behind the log"),
        (AgentCounts(1, 0, 0, 2, 2), (0, 0), 0, HealthState.DEGRADED, "1 agent is offline, of 2 known"),
        (AgentCounts(0, 0, 0, 0, 1), (0, 0), 0, HealthState.UNHEALTHY, "no agent is online while 3 wait"),
        (AgentCounts(0, 0, 0, 0, 0), (0, 0), 0, HealthState.HEALTHY, None),
    ],
)  # fmt: skip
def test_the_gravest_reason_decides(
    agents: AgentCounts,
    firing: tuple[int, int],
    lag: int,
    state: HealthState,
    reason: str | None,
) -> None:
    health = judge(
        has_data=True,
        fleet=FLEET._replace(states=WAITING),
        agents=agents,
        firing=FiringAlerts(*firing),
        reader_lag_us=lag * SECOND_US,
    )
    assert health.state is state
    assert health.reasons == (() if reason is None else (reason,))


@pytest.mark.parametrize("has_data", [True, False])
def test_what_is_wrong_with_the_server_itself_comes_first(has_data: bool) -> None:
    health = judge(
        has_data=has_data,
        fleet=FLEET,
        agents=AgentCounts(1, 0, 0, 2, 2),
        firing=FiringAlerts(),
        reader_lag_us=0,
        troubles=["database: it does not answer"],
    )
    assert health.state is (HealthState.DEGRADED if has_data else HealthState.UNKNOWN)
    assert "database: it does not answer" in health.reasons[:2]


def test_without_data_nothing_is_said() -> None:
    health = judge(
        has_data=False,
        fleet=FLEET,
        agents=AgentCounts(0, 0, 0, 0, 0),
        firing=FiringAlerts(),
        reader_lag_us=None,
    )
    assert (health.state, health.score) == (HealthState.UNKNOWN, None)
    assert health.reasons


def test_the_score_is_the_smallest_share_that_is_known() -> None:
    five = FLEET.windows[1]._replace(completed=9, failed=1)
    fleet = FLEET._replace(windows=(FLEET.windows[0], five, *FLEET.windows[2:]))
    score = judge(
        has_data=True,
        fleet=fleet,
        agents=AgentCounts(3, 0, 0, 4, 4),
        firing=FiringAlerts(),
        reader_lag_us=0,
    ).score
    assert score == 0.75
