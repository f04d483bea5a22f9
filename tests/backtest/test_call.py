"""`BacktestRule` on a server: what is asked, what is answered, and what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from prometheus_client import CollectorRegistry

from pilothouse import aio
from pilothouse.errors import InvalidArgument, LimitExceeded, NoSnapshot, RateLimited
from pilothouse.v1 import rules_pb2 as pb
from pilothouse.v1.rules_pb2_grpc import add_RuleServiceServicer_to_server
from pilothouse_server.adapters.sql.backtest_store import SqlBacktestStore
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.rule_store import SqlRules
from pilothouse_server.adapters.sql.rule_views import SqlRuleViews
from pilothouse_server.domain.metrics.checkpoint import BucketRow
from pilothouse_server.domain.metrics.snapshot import Dimension
from pilothouse_server.rulefiles import formats
from pilothouse_server.services.alerts.backtest import BEAT, BacktestLimits, Backtests
from pilothouse_server.services.alerts.rulebook import Rulebook
from pilothouse_server.services.alerts.ruleviews import RuleViews
from pilothouse_server.services.fanout import Changes
from pilothouse_server.transport.backtest import BacktestCalls
from pilothouse_server.transport.interceptor import CallMeters
from pilothouse_server.transport.rules import RuleServicer
from pilothouse_server.transport.server import RpcServer, Service
from tests.alerts.conftest import SetClock
from tests.backtest import history
from tests.backtest.conftest import Lives
from tests.backtest.life import BEGIN, SECOND
from tests.client.cli import Done, type_command
from tests.support import wait_until

MINUTES = 20
ERRORS = """
rules:
  - name: Errors
    condition: {metric: error_rate, window: 1m, comparison: ">", threshold: 0.2}
    for: 12s
"""
TWO = (
    ERRORS
    + """
  - name: Deep
    condition: {metric: queue_depth, dimension: workflow_type, comparison: ">", threshold: 2}
"""
)


def stamp(us: int) -> Timestamp:
    return Timestamp(seconds=us // SECOND)


def asked(document: str = ERRORS, rule_name: str = "", **times: int) -> pb.BacktestRuleRequest:
    """A request about all of the life."""
    given = {"start": BEGIN, "end": BEGIN + MINUTES * 60 * SECOND} | times
    return pb.BacktestRuleRequest(
        document=document,
        rule_name=rule_name,
        start_time=stamp(given["start"]),
        end_time=stamp(given["end"]),
    )


class Gated(SqlBacktestStore):
    """The real store, which answers about pieces when it may."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.reads = self.left = 0

    async def pieces(
        self, unit_us: int, dimension: Dimension, names: Sequence[str], start: int, end: int
    ) -> Sequence[BucketRow]:
        self.reads += 1
        try:
            await self.may_answer.wait()
        except asyncio.CancelledError:
            self.left += 1
            raise
        return await super().pieces(unit_us, dimension, names, start, end)


class Desk:
    """A server with rules on a database, and a client of it."""

    def __init__(self, store: Gated, client: aio.Client, port: int) -> None:
        self.store, self.client, self.port = store, client, port

    async def all(self, request: pb.BacktestRuleRequest) -> list[pb.BacktestRuleResponse]:
        return [each async for each in self.client.rules.BacktestRule(request)]

    async def type(self, *arguments: str) -> Done:
        return await asyncio.to_thread(
            type_command, "--server", f"127.0.0.1:{self.port}", "rules", "backtest", *arguments
        )


@asynccontextmanager
async def serving(database: Database, limits: BacktestLimits | None = None) -> AsyncGenerator[Desk]:
    """The service as the server has it."""
    clock, store = SetClock(BEGIN + MINUTES * 60 * SECOND), Gated(database)
    backtests = Backtests(store, clock, limits=limits or BacktestLimits())
    servicer = RuleServicer(
        Rulebook(SqlRules(database), clock, Changes()),
        RuleViews(SqlRuleViews(database), clock, lambda: None),
        formats,
        BacktestCalls(backtests, formats.read),
    )

    def add(server: grpc.aio.Server) -> None:
        add_RuleServiceServicer_to_server(servicer, server)

    service = Service(pb.DESCRIPTOR.services_by_name["RuleService"], add)
    server = RpcServer([service], CallMeters(CollectorRegistry()))
    port = await server.start("127.0.0.1", 0)
    try:
        async with aio.Client(f"127.0.0.1:{port}") as client:
            yield Desk(store, client, port)
    finally:
        await server.drain(0)


@pytest.fixture
def kind() -> str:
    """What is asked of either database is the same, and is held to in `test_same_as_live`."""
    return "sqlite"


@pytest.fixture
async def lived(lives: Lives) -> Database:
    """Twenty minutes of a fleet."""
    life = lives(())
    await life.begin()
    end = life.bucket + MINUTES * 12
    await life.live(history.fleet(3, MINUTES), end + 1)
    return life.tower.database


@pytest.fixture
async def desk(lived: Database) -> AsyncIterator[Desk]:
    async with serving(lived) as found:
        yield found


async def test_the_answer_has_progress_source_alerts_a_chart_and_last_a_summary(desk: Desk) -> None:
    answers = await desk.all(asked())
    kinds = [each.WhichOneof("update") for each in answers]
    assert kinds[0] == "progress"
    assert next(each for each in kinds if each != "progress") == "source"
    assert kinds[-1] == "summary"
    assert [each for each in answers if each.HasField("progress")][-1].progress.share == 1.0
    source = next(each.source for each in answers if each.HasField("source"))
    assert (source.step.seconds, source.start_time.seconds) == (5, BEGIN // SECOND)
    alerts = [each.alert for each in answers if each.HasField("alert")]
    fired = [each for each in alerts if each.HasField("fire_time")]
    summary = answers[-1].summary
    assert summary.fired == len(fired) > 0
    assert summary.evaluations == MINUTES * 12
    assert all(each.worst_value > 0.2 for each in alerts)
    assert all(each.summary.startswith("Error rate ") for each in alerts)
    # 12 s are up at the third look after the first.
    assert {each.fire_time.seconds - each.active_time.seconds for each in fired} == {15}
    assert "for of 12s counts as 15s where there is one evaluation every 5s" in summary.caveats
    series = [each.series for each in answers if each.HasField("series")]
    assert sum(len(each.values) for each in series) == MINUTES * 12


async def test_a_rule_may_come_as_it_is_instead_of_in_a_document(desk: Desk) -> None:
    as_document = await desk.all(asked())
    request = asked("")
    request.rule.name = "Errors"
    request.rule.for_duration.seconds = 12
    threshold = request.rule.condition.threshold
    threshold.metric, threshold.comparison = pb.ALERT_METRIC_ERROR_RATE, pb.COMPARISON_GREATER_THAN
    threshold.threshold = 0.2
    threshold.window.seconds = 60
    assert (await desk.all(request))[-1] == as_document[-1]


@pytest.mark.parametrize(
    ("request_of", "said"),
    [
        (lambda: asked(""), "give either a rule or a document with it"),
        (lambda: asked(TWO), "the document has 2 rules; say which: Errors, Deep"),
        (lambda: asked(TWO, "Idle"), "the document has no such rule; it has Errors, Deep"),
        (lambda: asked("rules: 7"), "document: line 1"),
        (lambda: asked(ERRORS.replace("error_rate", "bitrate")), "'bitrate' is none of latency_p50"),
        (lambda: asked(ERRORS.replace("1m", "2m")), "is one of 1 min, 5 min"),
        (lambda: asked(ERRORS.replace("0.2", "2")), "can never hold"),
        (lambda: asked(end=BEGIN), "start_time: must be before end_time"),
        (lambda: asked(end=BEGIN + 32 * 86_400 * SECOND), "more than 31 days before end_time"),
        (lambda: asked(start=0, end=60 * SECOND), "there is no history of this time; it reaches"),
    ],
)  # fmt: skip
async def test_what_cannot_be_judged_is_refused_with_what_could(
    desk: Desk, request_of: Callable[[], pb.BacktestRuleRequest], said: str
) -> None:
    with pytest.raises(InvalidArgument) as refused:
        await desk.all(request_of())
    assert said in str(refused.value)


async def test_one_rule_of_several_is_chosen_by_its_name(desk: Desk) -> None:
    answers = await desk.all(asked(TWO, "Deep"))
    labels = {each.series.labels["workflow_type"] for each in answers if each.HasField("series")}
    assert labels == set(history.TYPES)


async def test_a_time_that_reaches_beyond_history_says_so(desk: Desk) -> None:
    answers = await desk.all(asked(start=BEGIN - 3600 * SECOND, end=BEGIN + 7200 * SECOND))
    caveats = answers[-1].summary.caveats
    assert any(each.startswith("history begins at ") for each in caveats)
    assert any(each.startswith("history ends at ") for each in caveats)


async def test_without_any_history_there_is_nothing_to_judge(database: Database) -> None:
    async with serving(database) as desk:
        with pytest.raises(NoSnapshot):
            await desk.all(asked())


async def test_the_silence_of_agents_is_refused_where_no_events_are_stored(desk: Desk) -> None:
    silent = (
        'rules: [{name: S, condition: {metric: agent_silence, comparison: ">", threshold: 60}}]'
    )
    with pytest.raises(InvalidArgument, match="judged by stored events, and there are none"):
        await desk.all(asked(silent))


async def test_what_is_too_much_is_refused_before_it_is_read(lived: Database) -> None:
    async with serving(lived, BacktestLimits(evaluations=100)) as desk:
        with pytest.raises(LimitExceeded, match="evaluations of one backtest: at most 100"):
            await desk.all(asked())
        assert not desk.store.reads
    async with serving(lived, BacktestLimits(names=2)) as desk:
        with pytest.raises(
            LimitExceeded, match="instances of one backtest: at most 2, and this is 3"
        ):
            await desk.all(asked(TWO, "Deep"))


async def test_alerts_beyond_those_that_are_listed_are_counted(lived: Database) -> None:
    async with serving(lived, BacktestLimits(fired=1, never_fired=0)) as desk:
        answers = await desk.all(
            asked(ERRORS.replace("window: 1m", "window: 1m, dimension: workflow_type"))
        )
    assert sum(each.HasField("alert") for each in answers) == 1
    summary = answers[-1].summary
    assert summary.fired > 1
    told = f"{summary.fired - 1} more alerts that would have fired are counted and not listed"
    assert told in summary.caveats


async def test_a_third_backtest_at_once_is_told_to_come_again(desk: Desk) -> None:
    desk.store.may_answer.clear()
    calls = [desk.client.rules.BacktestRule(asked()) for _ in range(2)]
    for call in calls:
        await anext(aiter(call))
    await wait_until(lambda: desk.store.reads == 2, what="two that read")
    with pytest.raises(RateLimited, match="2 backtests run already") as refused:
        await desk.all(asked())
    assert refused.value.retry_after
    calls[0].cancel()
    desk.store.may_answer.set()

    async def answered() -> bool:
        try:
            return bool(await desk.all(asked()))
        except RateLimited:
            return False

    assert await wait_until(answered, what="room for another")
    calls[1].cancel()


async def test_who_waits_hears_how_far_it_is_at_least_every_second(desk: Desk) -> None:
    desk.store.may_answer.clear()
    call = aiter(desk.client.rules.BacktestRule(asked()))
    async with asyncio.timeout(30):
        first = [await anext(call) for _ in range(5)]
    assert BEAT <= 1
    assert [each.WhichOneof("update") for each in first[2:]] == ["progress"] * 3
    desk.store.may_answer.set()


async def test_nothing_is_read_for_a_caller_who_went_away(desk: Desk) -> None:
    desk.store.may_answer.clear()
    call = desk.client.rules.BacktestRule(asked())
    await anext(aiter(call))
    await wait_until(lambda: desk.store.reads == 1, what="a read")
    call.cancel()
    await wait_until(lambda: desk.store.left == 1, what="the server to hear that nobody listens")
    desk.store.may_answer.set()
    answers = await desk.all(asked())
    assert answers[-1].HasField("summary")
    # Of the second call: the fleet's minutes before, where there are none, and its buckets.
    assert desk.store.reads == 1 + 2


async def test_the_command_line_shows_what_would_have_fired(desk: Desk, tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(TWO)
    since = stamp(BEGIN).ToJsonString()
    done = await desk.type(str(file), "--rule", "Deep", "--since", since)
    assert done.code == 0, done.err
    head, *rows = done.out.splitlines()
    assert head.split() == ["LABELS", "HELD", "SINCE", "FIRED", "RESOLVED", "WORST", "SUMMARY"]
    assert rows[0].startswith("workflow_type=")
    assert any("5 s buckets: what is over within 5 s is not seen" in row for row in rows)
    assert "but: queue depth is known as it was at the end of each step" in rows
    assert rows[-1].startswith("would have fired ")
    assert "3 instances" in rows[-1]
    listed = await desk.type(str(file), "--rule", "Deep", "--since", since, "-o", "json")
    assert listed.code == 0
    assert '"progress"' not in listed.out
    assert listed.out.splitlines()[-1].startswith('{"summary":')


async def test_the_command_line_refuses_what_is_no_file_and_no_time(
    desk: Desk, tmp_path: Path
) -> None:
    missing = await desk.type(str(tmp_path / "none.yaml"))
    assert (missing.code, "No such file" in missing.err) == (2, True)
    file = tmp_path / "rules.yaml"
    file.write_text(ERRORS)
    odd = await desk.type(str(file), "--since", "yesterday")
    assert (odd.code, "'yesterday' is not a time" in odd.err) == (2, True)
