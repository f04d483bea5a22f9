"""Summaries of runs that ended: kept once, whoever is killed when, and gone with their workflows. On both databases."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from sqlalchemy import Connection, select

from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.tables_trace_summaries import TRACE_PIECES, TRACE_SUMMARIES
from pilothouse_server.adapters.sql.trace_summaries import SqlTraceSummaries, splits
from pilothouse_server.adapters.sql.trace_views import SqlTraces
from pilothouse_server.domain.errors import InvalidArgument, NotFound, Unavailable
from pilothouse_server.domain.events import Event, EventType
from pilothouse_server.domain.traces.model import TimeKind, Trace
from pilothouse_server.domain.traces.summary import Summary
from pilothouse_server.domain.workflows import WorkflowState
from pilothouse_server.services import trace_analysis
from pilothouse_server.services.retention import DAY_US
from pilothouse_server.services.trace_analysis import Key, TraceAnalysis, Window
from pilothouse_server.services.trace_analyst import TraceAnalyst
from pilothouse_server.services.traces import TraceDesk
from pilothouse_server.wire.events import decode_one
from tests.projection.build import NOON, SECOND, event
from tests.retention.conftest import House, house

__all__ = ["house"]

_T = EventType
ALL = Window(0, NOON * 2)


class Desk(TraceDesk):
    """Counts what it was asked for."""

    asked = 0

    async def trace(self, asked_id: str) -> Trace:
        self.asked += 1
        return await super().trace(asked_id)


class Office:
    """What keeps summaries, and who asks about them."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.store = SqlTraceSummaries(house.database)
        self.desk = Desk(SqlTraces(house.database, house.clock), decode_one)
        self.analysis = TraceAnalysis(self.desk, self.store, house.clock)
        self.analyst = self.another()

    def another(self) -> TraceAnalyst:
        """Who takes over."""
        return TraceAnalyst(self.store, self.desk, self.house.clock)

    async def look(self) -> int:
        """Looks at all there is."""
        return await self.analyst.look(await self.store.newest_revision())

    async def split(self, workflow_id: str) -> tuple[int, dict[TimeKind, int]] | None:
        found = await self.house.database.read(lambda c: splits(c, [workflow_id]))
        return (
            None
            if workflow_id not in found
            else (found[workflow_id][0], dict(found[workflow_id][1]))
        )


@pytest.fixture
def office(house: House) -> Office:
    return Office(house)


def run(id: str, at: float = 0, *, seconds: float = 8, failed: bool = False) -> list[Event]:
    """Of type `review`: queued for 2 s, then a stage `lint` with a task in it."""
    told = itertools.count()

    def say(kind: EventType, after: float, **fields: str) -> Event:
        return event(
            kind,
            at=at + after,
            id=f"{id}-{next(told)}",
            workflow_id=id,
            workflow_type="review",
            **fields,
        )

    end = 2 + seconds
    return [
        say(_T.WORKFLOW_CREATED, 0),
        say(_T.WORKFLOW_STARTED, 2),
        say(_T.STAGE_STARTED, 2, stage="lint"),
        say(_T.TASK_QUEUED, 2, stage="lint", task_id="a", agent_type="coder"),
        say(_T.TASK_STARTED, 3, stage="lint", task_id="a", agent_type="coder"),
        say(_T.TASK_FAILED if failed else _T.TASK_COMPLETED, end, stage="lint", task_id="a"),
        say(_T.STAGE_FAILED if failed else _T.STAGE_COMPLETED, end, stage="lint"),
        say(_T.WORKFLOW_FAILED if failed else _T.WORKFLOW_COMPLETED, end),
    ]


async def test_a_run_that_ended_is_summarised(office: Office) -> None:
    await office.house.report(*run("w"))
    assert await office.look() == 1
    assert await office.split("w") == (1, {TimeKind.WORK: 7 * SECOND, TimeKind.QUEUE: 3 * SECOND})
    page = await office.store.page("review", ALL, None, 10)
    (alike,) = page.runs
    assert {stage: list(times) for stage, times in alike.critical.items()} == {
        "": [2 * SECOND],
        "lint": [8 * SECOND],
    }
    (ended,) = await office.store.newest("review", 10)
    assert (ended.state, ended.duration_us) == (WorkflowState.COMPLETED, 10 * SECOND)
    assert {kept.piece.task: kept.duration_us for kept in ended.pieces} == {
        "": 8 * SECOND,
        "a": 8 * SECOND,
    }


async def test_what_was_looked_at_is_not_looked_at_again_even_by_another_lead(
    office: Office,
) -> None:
    await office.house.report(*run("w"))
    await office.look()
    assert await office.look() == 0
    office.analyst = office.another()
    assert await office.look() == 0
    assert office.desk.asked == 1


async def test_what_could_not_be_stored_is_looked_at_again(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    await office.house.report(*run("v"), *run("w"))

    async def away(*_: object) -> None:
        raise Unavailable("database", "gone")

    with monkeypatch.context() as patched:
        patched.setattr(office.store, "store", away)
        with pytest.raises(Unavailable):
            await office.look()
    assert await office.look() == 2


async def test_what_was_found_before_a_trace_could_not_be_read_is_looked_at_again(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    await office.house.report(*run("v"), *run("w"))
    read = office.desk.trace

    async def away(asked_id: str) -> Trace:
        if asked_id == "w":
            raise Unavailable("database", "gone")
        return await read(asked_id)

    with monkeypatch.context() as patched:
        patched.setattr(office.desk, "trace", away)
        with pytest.raises(Unavailable):
            await office.look()
    assert await office.look() == 2


async def test_a_trace_that_cannot_be_built_is_in_the_way_of_no_other(
    office: Office, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await office.house.report(*run("v"), *run("w"))
    read = office.desk.trace

    async def broken(asked_id: str) -> Trace:
        if asked_id == "v":
            raise ValueError("of a kind that nobody thought of")
        return await read(asked_id)

    monkeypatch.setattr(office.desk, "trace", broken)
    assert await office.look() == 1
    assert "the trace of v cannot be built" in caplog.text
    assert await office.split("w") is not None


async def test_a_run_that_goes_on_after_its_end_is_forgotten_until_it_ends_again(
    office: Office,
) -> None:
    await office.house.report(*run("w", failed=True))
    await office.look()
    retried = event(_T.WORKFLOW_RETRIED, at=20, id="r", workflow_id="w", attempt=2)
    started = event(_T.WORKFLOW_STARTED, at=25, id="s", workflow_id="w", attempt=2)
    await office.house.report(retried, started)
    await office.look()
    assert await office.split("w") is None
    done = event(_T.WORKFLOW_COMPLETED, at=30, id="d", workflow_id="w", attempt=2)
    await office.house.report(done)
    await office.look()
    found = await office.split("w")
    assert found is not None
    assert found[0] == 2
    assert sum(found[1].values()) == 30 * SECOND
    assert found[1][TimeKind.RETRY] >= 10 * SECOND


async def test_an_event_that_comes_late_changes_the_summary(office: Office) -> None:
    *before, end = run("w")
    await office.house.report(*before[:1], end)
    await office.look()
    assert await office.split("w") == (1, {TimeKind.WORK: 10 * SECOND})
    await office.house.report(*before)
    assert await office.look() == 1
    assert await office.split("w") == (1, {TimeKind.WORK: 7 * SECOND, TimeKind.QUEUE: 3 * SECOND})


async def test_what_changes_while_it_is_looked_at_is_left_for_its_next_change(
    office: Office,
) -> None:
    await office.house.report(*run("w"))
    (changed,) = await office.store.changed(0, await office.store.newest_revision(), 10)
    stale = Summary("w", "review", WorkflowState.COMPLETED, 1, 1, NOON, 1, {}, {}, ())
    await office.store.store({"w": (changed.revision - 1, stale)}, (), 0)
    assert await office.split("w") is None


async def test_summaries_go_with_their_workflows(office: Office) -> None:
    house = office.house
    await house.report(*run("w"))
    await office.look()
    await house.sweep(workflows_us=DAY_US)
    house.clock.pass_days(3)
    await house.sweep(workflows_us=DAY_US)
    assert await house.count(TRACE_SUMMARIES) == await house.count(TRACE_PIECES) == 0


async def test_runs_are_put_together_beside_those_of_the_week_before(office: Office) -> None:
    for day, seconds in ((0, 8), (1, 8), (2, 18), (-7, 98)):
        await office.house.report(*run(f"w{day}", day * 86_400, seconds=seconds, failed=day == 2))
    await office.look()
    window = Window(NOON - DAY_US, NOON + 5 * DAY_US)
    current, previous = await office.analysis.aggregate("review", window)
    assert (current.together.runs, current.together.failed) == (3, 1)
    assert current.together.duration == (10 * SECOND, 20 * SECOND)
    assert current.together.stages[0].stage == "lint"
    assert current.together.stages[0].share_p50 == pytest.approx(0.8)
    assert current.together.stages[0].share_p95 == pytest.approx(0.9)
    assert previous.together.runs == 1
    assert not current.truncated
    nobody, _ = await office.analysis.aggregate("nothing", window)
    assert nobody.together.runs == 0
    with pytest.raises(InvalidArgument):
        await office.analysis.aggregate("review", Window(5, 5))


async def test_pages_of_runs_are_all_of_them_once(office: Office) -> None:
    for number in range(7):
        await office.house.report(*run(f"w{number}", number // 3))
    await office.look()
    seen, last = 0, None
    while True:
        page = await office.store.page("review", ALL, last, 2)
        seen += sum(len(alike.durations) for alike in page.runs)
        if page.last is None:
            break
        last = page.last
    assert seen == 7
    assert (await office.store.page("review", ALL, Key(0, ""), 2)).last is None


@pytest.mark.parametrize(("most", "runs"), [("MAX_RUNS", 4), ("MAX_VALUES", 2)])
async def test_of_too_many_runs_the_newest_are_put_together_and_that_is_said(
    office: Office, monkeypatch: pytest.MonkeyPatch, most: str, runs: int
) -> None:
    for number in range(5):
        await office.house.report(*run(f"w{number}", number))
    await office.look()
    monkeypatch.setattr(trace_analysis, "PAGE", 2)
    monkeypatch.setattr(trace_analysis, most, 4)
    window = Window(NOON - DAY_US, NOON + 5 * DAY_US)
    current, _ = await office.analysis.aggregate("review", window)
    assert (current.together.runs, current.truncated) == (runs, True)


async def test_ten_past_runs_tell_when_a_run_may_end(office: Office) -> None:
    for number in range(9):
        await office.house.report(*run(f"past{number}", -1000, seconds=10 + number))
    await office.look()
    begun = run("w")[:5]
    await office.house.report(*begun)
    office.house.clock.us = NOON + 5 * SECOND
    told = await office.analysis.analyse("w")
    assert told.estimate == "9 past runs of its type ended so far, and 10 are needed"
    await office.house.report(*run("past9", -1000, seconds=19))
    await office.look()
    told = await office.analysis.analyse("w")
    assert not isinstance(told.estimate, str)
    assert told.estimate is not None
    assert told.estimate.runs == 10
    assert told.estimate.median_us == pytest.approx(11.5 * SECOND)
    assert told.analysis.until_us == NOON + 5 * SECOND


async def test_a_trace_is_compared_with_the_median_of_the_others(office: Office) -> None:
    for number in range(3):
        await office.house.report(*run(f"past{number}", -1000))
    await office.house.report(*run("slow", seconds=28))
    await office.look()
    comparison = await office.analysis.compare(["slow"], with_median=True)
    assert [type(each).__name__ for each in comparison.traces] == ["Median", "Analysis"]
    assert comparison.rows[0].words == "20 s longer, 3.5 times as long"
    both = await office.analysis.compare(["past0", "slow"], with_median=False)
    assert both.rows[0].difference_us == 20 * SECOND


@pytest.mark.parametrize(
    ("ids", "median", "error"),
    [
        (["w"], False, InvalidArgument),
        (["w", "w"], False, InvalidArgument),
        (["w", "nobody"], False, NotFound),
        (["w"], True, InvalidArgument),
    ],
)
async def test_what_cannot_be_compared_is_refused(
    office: Office, ids: list[str], median: bool, error: type[Exception]
) -> None:
    await office.house.report(*run("w"))
    with pytest.raises(error):
        await office.analysis.compare(ids, with_median=median)


async def test_the_newest_runs_of_a_type_are_read_by_their_index(database: Database) -> None:
    query = (
        select(TRACE_SUMMARIES.c.numbers)
        .where(TRACE_SUMMARIES.c.type == "review", TRACE_SUMMARIES.c.end_us >= 5)
        .order_by(TRACE_SUMMARIES.c.end_us.desc(), TRACE_SUMMARIES.c.workflow_id.desc())
        .limit(2_000)
    )

    def explained(connection: Connection) -> str:
        postgres = connection.dialect.name == "postgresql"
        if postgres:
            # What other tests left in the table makes it cheap to sort: it is asked whether it has to.
            for way in ("seqscan", "sort"):
                connection.exec_driver_sql(f"SET LOCAL enable_{way} = off")
        words = "EXPLAIN " if postgres else "EXPLAIN QUERY PLAN "
        text = str(query.compile(connection, compile_kwargs={"literal_binds": True}))
        return str(connection.exec_driver_sql(words + text).all())

    plan = await database.read(explained)
    assert "ix_trace_summaries_type_end_us_workflow_id" in plan
    assert "TEMP B-TREE" not in plan
    assert "Sort" not in plan


async def test_slack_is_told_of_the_trace_that_was_asked_about(office: Office) -> None:
    await office.house.report(*run("w"))
    trace = await office.desk.trace("w")
    slack = await office.analysis.slack(trace)
    assert set(slack) == {span.id for span in trace.spans}
    assert await office.analysis.slack(trace) is slack


async def test_what_goes_on_is_looked_at_again_after_a_second_and_shared_until_then(
    office: Office,
) -> None:
    await office.house.report(*run("w")[:5])
    office.house.clock.us = NOON + 5 * SECOND
    trace = await office.desk.trace("w")
    one, other = await asyncio.gather(office.analysis.analyse("w"), office.analysis.analyse("w"))
    assert one.analysis is other.analysis
    slack = await office.analysis.slack(trace)
    office.house.clock.us += SECOND // 2
    assert (await office.analysis.analyse("w")).analysis is one.analysis
    assert await office.analysis.slack(trace) is slack
    office.house.clock.us += SECOND
    assert (await office.analysis.analyse("w")).analysis.until_us == NOON + 6.5 * SECOND
    assert await office.analysis.slack(trace) is not slack
