"""No question that is asked again and again reads a large table from one end to the other, on either database.

A search for words does, and so may a filter by a column without an index that hardly any row fulfils: both stop when
the page is full.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Table, insert, text

from pilothouse_server.adapters.sql import bulk, migrate, outbox_store
from pilothouse_server.adapters.sql.agent_views import SqlAgentViews
from pilothouse_server.adapters.sql.alert_store import SqlAlerts
from pilothouse_server.adapters.sql.batch_store import SqlBatches
from pilothouse_server.adapters.sql.command_store import SqlCommands, settling
from pilothouse_server.adapters.sql.control_queries import SqlControlQueries
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.event_views import SqlEventViews
from pilothouse_server.adapters.sql.metrics_store import SqlMetricsStore
from pilothouse_server.adapters.sql.outbox_store import SqlOutbox
from pilothouse_server.adapters.sql.projection_store import SqlProjectionStore
from pilothouse_server.adapters.sql.queue_views import SqlQueueViews
from pilothouse_server.adapters.sql.rule_store import SqlRules
from pilothouse_server.adapters.sql.rule_views import SqlRuleViews
from pilothouse_server.adapters.sql.tables_batches import BATCH_ITEMS, BATCH_REQUESTS, BATCHES
from pilothouse_server.adapters.sql.tables_control import (
    ALERT_CLOCK,
    ALERT_RULE_VERSIONS,
    ALERT_TRANSITIONS,
    ALERTS,
    COMMANDS,
)
from pilothouse_server.adapters.sql.tables_metrics import (
    METRIC_AGENTS,
    METRIC_BUCKETS,
    METRIC_MINUTES,
    METRIC_WORKFLOWS,
)
from pilothouse_server.adapters.sql.tables_projection import (
    AGENTS,
    COUNTERS,
    EVENTS,
    QUEUES,
    TASKS,
    WORKFLOWS,
)
from pilothouse_server.adapters.sql.workflow_views import SqlWorkflowViews
from pilothouse_server.domain.alerts.documents import rule_to_document
from pilothouse_server.domain.alerts.search import terms_of
from pilothouse_server.domain.batches import ItemOutcome
from pilothouse_server.domain.commands import Scope
from pilothouse_server.domain.events import EventType
from pilothouse_server.domain.projection.agent import AgentRecord
from pilothouse_server.domain.projection.queue import QueueName, QueueRecord
from pilothouse_server.domain.projection.task import TaskRecord
from pilothouse_server.domain.projection.workflow import WorkflowRecord
from pilothouse_server.domain.targets import Target, queue_target
from pilothouse_server.ports import LogEntry
from pilothouse_server.services.views import PageRequest
from pilothouse_server.wire.events import decode_stored, encode_events
from tests.databases import Place, open_database
from tests.projection.build import NOON, SECOND, event
from tests.projection.test_store import busy_fleet
from tests.rules.build import rule as a_rule
from tests.services.conftest import SetClock
from tests.storage.explained import ExplainedDatabase

pytestmark = pytest.mark.timeout(240)  # whoever comes first fills the database

ROWS = 8_000
DAY = 86_400 * SECOND


def workflows() -> Iterable[bulk.Row]:
    record = WorkflowRecord("x").dump()
    for n in range(ROWS):
        state = 1 + n % 7 if n % 40 == 0 else 5
        start = None if n % 100 == 0 else NOON + n
        yield (
            f"w{n:06}", f"type{n % 20}", f"name {n}", f"engine{n % 5}", state, 1, "build", f"a{n % 800}",
            NOON + n * SECOND, start, NOON + n, NOON + n, n + 1, record, 0, 0, "", None if n % 3 else n,
        )  # fmt: skip


def events() -> Iterable[bulk.Row]:
    for n in range(3 * ROWS):
        trace = f"{n // 10:032x}" if n % 2 else ""
        yield (
            n + 1, f"event-{n}", f"{n}", 1 + n % 25, 1 + n % 5, NOON + n, NOON + n, "engine", f"w{n // 3:06}", "type",
            "build", "t", f"a{n % 800}", "worker", trace, f"message {n}", b"payload" * 20,
        )  # fmt: skip


def tasks() -> Iterable[bulk.Row]:
    for n in range(2 * ROWS):
        record = TaskRecord(f"w{n // 2:06}", f"t{n % 2}").dump()
        running = 3 if n % 200 == 0 else 4
        ended = None if running == 3 else NOON + n
        yield (
            f"w{n // 2:06}",
            f"t{n % 2}",
            NOON + n,
            running,
            f"a{n % 800}",
            NOON + n,
            record,
            ended,
        )


def agents() -> Iterable[bulk.Row]:
    record = AgentRecord("x").dump()
    for n in range(ROWS):
        seen, overdue = NOON + n * SECOND, n < ROWS - 10
        yield (
            f"a{n}",
            f"type{n % 9}",
            "engine",
            seen,
            False,
            False,
            False,
            overdue,
            n + 1,
            record,
            False,
        )


def target_of(n: int) -> dict[str, Any]:
    """What the nth command is about: mostly a workflow."""
    about = {
        "scope": 1,
        "workflow_id": f"w{n:06}",
        "target": f"w{n:06}",
        "agent_id": "",
        "queue": "",
    }
    if n % 20 == 1:
        return about | {
            "scope": 3,
            "workflow_id": "",
            "target": f"a{n % 800}",
            "agent_id": f"a{n % 800}",
        }
    if n % 20 == 2:
        return about | {
            "scope": 2,
            "workflow_id": "",
            "target": f"q{n % 9}x{n}",
            "queue": f"q{n % 9}x{n}",
        }
    return about


def queues() -> Iterable[bulk.Row]:
    for n in range(ROWS):
        record = QueueRecord(QueueName(f"engine{n % 50}", f"q{n}"))
        record.apply(event(EventType.QUEUE_PAUSED, at=n, queue=f"q{n}"))
        yield (*record.name, 2 if n % 9 == 0 else 1, NOON + n, NOON + n, record.dump())


def commands() -> Iterable[dict[str, Any]]:
    for n in range(ROWS):
        ended = None if n >= ROWS - 20 else NOON + n
        yield {
            "id": f"c{n}", "sequence": n + 1, "action": 1, "source": f"engine{n % 5}", **target_of(n),
            "batch_id": f"b{n // 500}" if n % 7 == 0 else "", "stop_id": f"s{n // 900}" if n % 11 == 0 else "",
            "state": 1 if ended is None else 3, "attempt": 1, "boundary": 1, "reason": "", "actor": "me",
            "request_id": f"r{n}", "request_us": NOON + n, "expire_us": NOON + n, "since_us": NOON, "end_us": ended,
        }  # fmt: skip


def batches() -> Iterable[dict[str, Any]]:
    preview: dict[str, Any] = {
        "states": [],
        "types": [],
        "pending": 0,
        "acceptable": 0,
        "refusals": [],
    }
    for n in range(ROWS // 2):
        live = n >= ROWS // 2 - 3
        yield {
            "id": f"b{n}", "sequence": n + 1, "action": 1, "filter": "", "reason": "", "actor": f"person{n % 20}",
            "started_by": "", "state": 2 if live else 4, "size": 80, "rate": 1.0, "preview": preview,
            "create_us": NOON + n, "expire_us": NOON + n, "end_us": None if live else NOON + n, "turn": 60,
            "refused": 0, "abandoned": False, "counts": None,
        }  # fmt: skip


def batch_items() -> Iterable[bulk.Row]:
    for n in range(ROWS):
        command_id = f"c{n}" if n % 2 else ""
        yield (f"b{n // 80}", n % 80, f"w{n:06}", "engine", 2, command_id, None, None, None)


def alerts() -> Iterable[dict[str, Any]]:
    for n in range(ROWS):
        live, labels = n >= ROWS - 20, {"agent_id": f"a{n % 800}"}
        yield {
            "id": f"l{n}", "sequence": n + 1, "revision": n + 1, "rule_id": f"rule{n % 9}",
            "rule_name": "r", "name": f"n{n}", "labels": labels,
            "severity": 1 + n % 5, "state": 2 if live else 4, "summary": "s", "clears_when": "c",
            "value": 1.0, "threshold": 1.0, "active_us": NOON + n, "fire_us": NOON + n, "down_us": 0,
            "resolve_us": None if live else NOON + n, "latched": False, "acknowledged_by": "",
            "acknowledge_comment": "", "resolved_by": "", "update_us": NOON + n, "steps": 2,
            "terms": terms_of("r", "s", labels),
        }  # fmt: skip


def rule_versions() -> Iterable[dict[str, Any]]:
    for n in range(ROWS):
        of = a_rule(id=f"rule{n % 40}", name=f"N{n % 40}", version=1 + n // 40)
        yield {
            "rule_id": of.id, "version": of.version, "document": rule_to_document(of), "deleted": n % 400 == 7,
            "create_us": NOON + n, "actor": "", "reason": "", "request_id": f"request-{n}" if n % 9 else "",
        }  # fmt: skip


def fill(connection: Connection) -> None:
    made: list[tuple[Table, Iterable[bulk.Row]]] = [
        (WORKFLOWS, workflows()), (EVENTS, events()), (TASKS, tasks()), (AGENTS, agents()),
        (QUEUES, queues()),
        (ALERT_TRANSITIONS, ((f"l{n // 2}", n % 2, NOON, 1, 2, 1.0, "", "", 0, "") for n in range(2 * ROWS))),
        (METRIC_WORKFLOWS, ((n % 2, f"w{n}", n, 0, 0, False, "{}") for n in range(ROWS))),
        (METRIC_AGENTS, ((n % 2, f"a{n}", "{}") for n in range(ROWS))),
        (METRIC_BUCKETS, ((1, f"s{n % 10}", n // 10, 0, "{}", "") for n in range(2 * ROWS))),
        (METRIC_MINUTES, ((1, f"s{n % 10}", n // 10, 0, "{}", "") for n in range(2 * ROWS))),
    ]  # fmt: skip
    for table, rows in made:
        bulk.insert(connection, table, list(rows))
    connection.execute(insert(COMMANDS), list(commands()))
    connection.execute(insert(BATCHES), list(batches()))
    bulk.insert(connection, BATCH_ITEMS, list(batch_items()))
    bulk.insert(connection, BATCH_REQUESTS, [(f"r{n}", f"b{n}", "start") for n in range(ROWS)])
    connection.execute(insert(ALERTS), list(alerts()))
    connection.execute(insert(ALERT_RULE_VERSIONS), list(rule_versions()))
    connection.execute(insert(ALERT_CLOCK), {"id": 1, "slot_us": NOON, "removed_revision": 0})
    outbox_store.add(connection, (event(EventType.COMMAND_REQUESTED) for _ in range(ROWS)))
    reached = {"revision": ROWS, "position": 3 * ROWS}
    for name, value in reached.items():
        connection.execute(COUNTERS.update().where(COUNTERS.c.name == name).values(value=value))


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A database that a while was worked with, made once."""
    place: Place
    if request.param == "sqlite":
        place = tmp_path_factory.mktemp("filled") / "state.db"
    else:
        place = request.getfixturevalue("module_database_url")
    migrate.upgrade(place)
    return place


@pytest.fixture
async def explained(filled: Place) -> AsyncIterator[ExplainedDatabase]:
    database = open_database(filled)
    if not await database.read(lambda c: c.execute(text("SELECT 1 FROM outbox LIMIT 1")).scalar()):
        await database.write(fill)
        if not isinstance(filled, Path):
            # PostgreSQL does so by itself; SQLite never does.
            await database.write(lambda c: c.execute(text("ANALYZE")).close())
    yield ExplainedDatabase(database)
    await database.close()


CLOCK = SetClock()

WORKFLOW_FILTERS = [
    "", "id = w000100", "state = RUNNING", "state != COMPLETED", "type = type3", "create_time > -1h",
    "state = RUNNING AND type = type3",
]  # fmt: skip
ORDERS = [
    "",
    "create_time",
    "start_time",
    "start_time desc",
    "update_time desc",
    "name",
    "state",
    "state desc",
]
EVENT_FILTERS = [
    "", "workflow_id = w000100", "agent_id = a7", "trace_id = 00000000000000000000000000000100", "type = TASK_STARTED",
    "workflow_id = w000100 AND severity >= WARNING",
]  # fmt: skip


ALERT_FILTERS = [
    "", "state = FIRING", "rule = rule3", "severity >= CRITICAL", "id = l7", "state = FIRING OR rule = rule7",
    "labels.agent_id = a7", "labels.agent_id = nobody", "r", "nothing", "nothing a7", "-labels.agent_id = a7",
    "acknowledged = true", "silenced = true", "inhibited = true", "flapping = true", "kind = NO_DATA",
    "assignee = ada", "active_time < -1000d", "fire_time > -1h", "resolve_time < -1h", "rule != rule3 severity = DEBUG",
]  # fmt: skip


async def ask_workflows(database: Database) -> None:
    views = SqlWorkflowViews(database, CLOCK)
    for filter_text in WORKFLOW_FILTERS:
        await views.page(PageRequest(50, filter=filter_text))
    for order in ORDERS:
        first = await views.page(PageRequest(50, order_by=order))
        await views.page(PageRequest(50, token=first.next_token, order_by=order))
    await views.get("w000100")
    follower = views.follow("state = RUNNING")
    await follower.start(100)
    await follower.after(ROWS - 100, 100)


async def ask_agents(database: Database) -> None:
    views = SqlAgentViews(database, CLOCK)
    first = await views.page(PageRequest(50))
    await views.page(PageRequest(50, token=first.next_token))
    await views.page(PageRequest(50, filter="type = type3"))
    await views.get("a100")
    await views.follow().after(ROWS - 100, 100)


async def ask_events(database: Database) -> None:
    views = SqlEventViews(database, CLOCK)
    for ascending in (False, True):
        for filter_text in EVENT_FILTERS:
            first = await views.page(PageRequest(1, filter=filter_text), ascending=ascending)
            token = first.next_token
            await views.page(PageRequest(1, token, filter_text), ascending=ascending)
    follower = views.follow("severity >= WARNING")
    await follower.start(100)
    await follower.after(3 * ROWS - 500, 100)


COMMAND_FILTERS = (
    "", "state = REQUESTED", "workflow_id = w000100", "source = engine1", "agent_id = a7", "batch_id = b7",
    "emergency_stop_id = s7", "scope = POOL",
)  # fmt: skip


async def ask_queues(database: Database) -> None:
    views = SqlQueueViews(database)
    await views.of("")
    await views.of("engine1")
    store = SqlCommands(database)
    names = [QueueName("engine1", f"q{n}") for n in range(3)]
    await store.read(lambda t: [t.queue(name) for name in names])
    await store.read(
        lambda t: t.pending_at([*map(queue_target, names), Target(Scope.POOL, "", "a7")])
    )
    await store.read(lambda t: t.pending_on(Scope.POOL, "a7", "engine1"))
    await store.read(lambda t: t.agent("a7"))


async def ask_control(database: Database) -> None:
    queries = SqlControlQueries(database, CLOCK)
    for filter_text in COMMAND_FILTERS:
        first = await queries.commands(PageRequest(10, filter=filter_text))
        await queries.commands(PageRequest(10, filter=filter_text, token=first.next_token))
    for filter_text in ALERT_FILTERS:
        first_alerts = await queries.alerts(PageRequest(10, filter=filter_text))
        await queries.alerts(PageRequest(10, filter=filter_text, token=first_alerts.next_token))
    await queries.alert_with_steps("l100")
    feed = queries.follow()
    await feed.start(0)
    await feed.after(0, 100)
    await feed.after(ROWS - 100, 100)


async def ask_commands(database: Database) -> None:
    store = SqlCommands(database)
    await store.read(lambda t: (t.get("c1"), t.requested("r1"), t.standpoint("w000100")))
    await store.read(lambda t: (t.pending(["w000100"]), t.next_deadline(), t.overdue(NOON, 100)))
    await store.read(lambda t: t.offered("engine1", ROWS - 100, 100))
    await store.read(lambda t: (t.given("engine1", ROWS, 10_000), t.urgent("engine1", 10, 20)))


async def ask_batches(database: Database) -> None:
    store = SqlBatches(database, CLOCK)
    for filter_text in ("", "state = DONE", "actor = person3", "id = b7"):
        first = await store.page(PageRequest(10, filter=filter_text))
        await store.page(PageRequest(10, first.next_token, filter_text))
    for outcomes in ((), (ItemOutcome.FAILED,), (ItemOutcome.REFUSED, ItemOutcome.WAITING)):
        page = await store.items("b7", outcomes, PageRequest(10))
        await store.items("b7", outcomes, PageRequest(10, page.next_token))
    await store.read(lambda t: (t.open(), t.commands("b7"), t.pending("b7"), t.requested("r")))
    await store.read(lambda t: t.load_of("engine1", 100))
    batch = await store.read(lambda t: t.get("b7"))
    assert batch is not None
    await store.read(lambda t: t.next_items(batch, 20))
    await store.write(lambda t: t.gathered(["w000100", "w000101"], ["r1", "r2"]).flush())


async def ask_alert_engine(database: Database) -> None:
    store = SqlAlerts(database)
    await store.restore(())
    await store.find("l100")
    await store.requested("0199f5a0-0000-7000-8000-000000000000")


async def ask_rules(database: Database) -> None:
    store, views = SqlRules(database), SqlRuleViews(database)
    page = await store.versions("rule3", 50, "")
    await store.versions("rule3", 50, page.next_token)
    await store.look(lambda t: (t.get("rule3"), t.version("rule3", 7), t.version("rule3", 0)))
    await store.look(lambda t: t.requested("request-1"))
    await store.since(0)
    await views.rules()
    await views.rules("rule3")
    changed = a_rule(id="rule3", name="x", version=2000)
    await store.change(lambda t: t.put([changed], ""))
    await store.change(lambda t: t.delete(changed, ""))


async def ask_metrics(database: Database) -> None:
    store = SqlMetricsStore(database)
    await store.head()
    await store.workflows("w100", 100)
    await store.buckets(100, 110)
    await store.buckets_of(1, "s3", 100, 110)
    await store.minutes(1, "s3", 100, 110)
    await store.prune(10, 10)


async def project(database: Database) -> None:
    store = SqlProjectionStore(database, decode_stored, [settling()])
    await store.cursor()
    known = [
        event(EventType(each.type), workflow_id="w000100", task_id="t1", agent_id="a7")
        for each in busy_fleet(1, 1)
    ]
    await store.apply([LogEntry("1", encode_events([*busy_fleet(5, 2), *known]))])
    await store.mark_overdue(NOON + ROWS * SECOND, 500)
    await store.mark_in_time(NOON, 500)
    await SqlOutbox(database).oldest(100)


QUESTIONS = [
    ask_workflows, ask_agents, ask_queues, ask_events, ask_control, ask_commands, ask_alert_engine, ask_rules,
    ask_metrics, ask_batches, project,
]  # fmt: skip

SMALL = {
    # What a statement makes itself, of as many rows as it may.
    *("counted", "some"),
    *("counters", "identity", "cursors", "executors", "engines_heard"),
    *("alert_rules", "alert_clock", "command_clock", "metric_counters"),
    # Read whole once, by whoever begins to lead.
    "alert_flaps",
}


@pytest.mark.parametrize("ask", QUESTIONS)
async def test_an_answer_is_found_by_an_index(explained: ExplainedDatabase, ask: Any) -> None:
    await ask(explained)
    assert explained.statements
    scans = {(table, statement) for table, statement in explained.scanned if table not in SMALL}
    assert not scans, "\n\n".join(f"all of {table}:\n{statement}" for table, statement in scans)
