"""Alerts with several replicas: one acts, all show, and a change of the lead neither doubles nor loses anything."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace

import pytest
from sqlalchemy import update

from pilothouse_server.adapters.sql.alert_desk_store import SqlAlertDesk, SqlAlertRequests
from pilothouse_server.adapters.sql.alert_store import SqlAlerts
from pilothouse_server.adapters.sql.control_queries import SqlControlQueries
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.fencing import FencedDatabase
from pilothouse_server.adapters.sql.tables_control import ALERT_REQUESTS
from pilothouse_server.domain.alerts.records import Alert
from pilothouse_server.domain.alerts.requests import (
    ACTS,
    TOO_NEW,
    AlertRequest,
    RequestState,
    Verb,
    error_of,
)
from pilothouse_server.domain.alerts.rules import Rule
from pilothouse_server.domain.alerts.states import AlertState
from pilothouse_server.domain.errors import (
    AlertResolved,
    EtagMismatch,
    LeaseLost,
    NotFound,
    PilothouseError,
    RequestIdReused,
    Unavailable,
)
from pilothouse_server.services.alerts.desk import AlertRequests
from pilothouse_server.services.alerts.engine import AlertEngine
from pilothouse_server.services.alerts.journal import AlertBatch, AlertJournal, Restored
from pilothouse_server.services.ids import uuid7
from pilothouse_server.services.views import PageRequest
from tests.alerts.build import SECOND, depth, rule
from tests.several.conftest import Replica
from tests.support import wait_until

Pair = tuple[Replica, Replica]

BUSY, IDLE = 50, 0
"""Queue depths above and below the rule's threshold."""


class Ruled(SqlAlerts):
    """The real store with one rule of ours; it can lose the answer of a save that was done."""

    def __init__(self, database: Database, ours: Rule) -> None:
        super().__init__(database)
        self._rule = ours
        self.lose_answers = 0
        self.away = False

    async def restore(self, shipped: Sequence[Rule]) -> Restored:
        return await super().restore([self._rule])

    async def save(self, batch: AlertBatch) -> None:
        if self.away:
            raise Unavailable("database", "it is away")
        await super().save(batch)
        if self.lose_answers:
            self.lose_answers -= 1
            raise Unavailable("database", "the connection broke while committing")


@dataclass
class Lead:
    """A tenure's alerts."""

    replica: Replica
    database: FencedDatabase
    store: Ruled
    engine: AlertEngine
    requests: AlertRequests

    @property
    def journal(self) -> AlertJournal:
        return self.engine.journal

    async def tick(self, waiting: int, at: int, *, save: bool = True) -> None:
        """The slot `at` seconds after the start of time, with so much waiting."""
        self.engine.tick(depth(waiting), T0 + at * SECOND)
        if save:
            await self.journal.flush()


T0 = 2_000_000 * SECOND


async def leading(replica: Replica, ours: Rule | None = None) -> Lead:
    """A new tenure, restored from what is stored."""
    database = await replica.reign()
    store = Ruled(database, ours or rule())
    journal = AlertJournal(
        store, replica.clock, replica.alerted, replica.projected, replica.requests
    )
    engine = AlertEngine(store, journal, replica.clock, uuid7)
    await engine.start()
    requests = AlertRequests(SqlAlertRequests(database), engine, replica.clock, replica.requests)
    return Lead(replica, database, store, engine, requests)


@asynccontextmanager
async def working(lead: Lead) -> AsyncGenerator[None]:
    """Journal and requests run, as in the server."""
    tasks = [asyncio.create_task(lead.journal.run()), asyncio.create_task(lead.requests.run())]
    try:
        with lead.replica.desk.leading(lead.engine):
            yield
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError, LeaseLost):
                await task


async def acknowledge(
    replica: Replica, alert_id: str, *, actor: str, comment: str, etag: str, request_id: str = ""
) -> Alert:
    asked = AlertRequest(
        Verb.ACKNOWLEDGE, alert_id, actor, comment, etag, request_id=request_id
    )  # fmt: skip
    return await replica.desk.act(asked)


async def resolve(
    replica: Replica,
    alert_id: str,
    *,
    actor: str,
    reason: str,
    etag: str,
    within: float | None = None,
) -> Alert:
    asked = AlertRequest(Verb.RESOLVE, alert_id, actor, reason, etag)
    return await replica.desk.act(asked, within=within)


async def alerts_on(replica: Replica) -> list[Alert]:
    page = await SqlControlQueries(replica.database, replica.clock).alerts(PageRequest(100))
    return list(page.items)


async def steps_on(replica: Replica, alert: Alert) -> list[str]:
    queries = SqlControlQueries(replica.database, replica.clock)
    _, steps = await queries.alert_with_steps(alert.id)
    assert [step.position for step in steps] == list(range(len(steps)))
    return [AlertState(step.to_state).name for step in steps]


async def test_a_frozen_lead_that_wakes_changes_nothing(pair: Pair) -> None:
    one, other = pair
    frozen = await leading(one)
    await frozen.tick(BUSY, 1)
    await frozen.tick(IDLE, 2, save=False)
    await frozen.tick(BUSY, 3, save=False)
    heir = await leading(other)
    with pytest.raises(LeaseLost):
        await frozen.journal.flush()
    await heir.tick(BUSY, 4)
    (alert,) = await alerts_on(one)
    assert alert.instance.state == AlertState.FIRING
    assert await steps_on(one, alert) == ["FIRING"]
    assert await one.told() == [f"{alert.id}:firing"]
    await heir.tick(IDLE, 5)
    assert await one.told() == [f"{alert.id}:firing", f"{alert.id}:resolved"]


async def test_a_change_of_the_lead_neither_repeats_nor_loses_an_alert(pair: Pair) -> None:
    ours = rule(for_us=3 * SECOND)
    lead = await leading(pair[0], ours)
    for at in range(1, 40):
        if at % 3 == 0:
            lead = await leading(pair[(at // 3) % 2], ours)
        await lead.tick(BUSY if at < 20 or at > 30 else IDLE, at)
    told = Counter(each.rpartition(":")[2] for each in await pair[0].told())
    assert told == {"firing": 2, "resolved": 1}
    assert len(await alerts_on(pair[1])) == 2


async def test_time_in_which_nobody_led_does_not_count(pair: Pair) -> None:
    ours = rule(for_us=10 * SECOND)
    lead = await leading(pair[0], ours)
    await lead.tick(BUSY, 1)
    await lead.tick(BUSY, 5)
    heir = await leading(pair[1], ours)
    await heir.tick(BUSY, 65)
    await heir.tick(BUSY, 70)
    assert [a.instance.state for a in await alerts_on(pair[0])] == [AlertState.PENDING]
    await heir.tick(BUSY, 71)
    assert [a.instance.state for a in await alerts_on(pair[0])] == [AlertState.FIRING]


async def test_a_batch_whose_answer_was_lost_is_stored_once(pair: Pair) -> None:
    lead = await leading(pair[0])
    lead.store.lose_answers = 2
    for at, waiting in enumerate((BUSY, IDLE, BUSY), start=1):
        await lead.tick(waiting, at, save=False)
        with suppress(Unavailable):
            await lead.journal.flush()
    await lead.journal.flush()
    told = Counter(each.rpartition(":")[2] for each in await pair[0].told())
    assert told == {"firing": 2, "resolved": 1}


async def test_while_the_database_is_away_the_engine_goes_on_and_stores_later(pair: Pair) -> None:
    lead = await leading(pair[0])
    lead.store.away = True
    async with working(lead):
        await lead.tick(BUSY, 1, save=False)
        await wait_until(lambda: lead.journal.failures > 0, what="a save to fail")
        await lead.tick(IDLE, 2, save=False)
        assert lead.engine.firing == (0, 0)
        lead.store.away = False

        async def both() -> bool:
            return len(await pair[0].told()) == 2

        await wait_until(both, what="the events to be stored")
    told = [each.rpartition(":")[2] for each in await pair[0].told()]
    assert told == ["firing", "resolved"]


async def test_any_replica_takes_care_of_an_alert(pair: Pair) -> None:
    one, other = pair
    lead = await leading(one)
    await lead.tick(BUSY, 1)
    (alert,) = await alerts_on(other)
    async with working(lead):
        acknowledged = await acknowledge(
            other, alert.id, actor="ada", comment="on it", etag=alert.etag
        )
        assert (acknowledged.acknowledged_by, acknowledged.acknowledge_comment) == ("ada", "on it")
        again = await acknowledge(other, alert.id, actor="bob", comment="", etag="")
        assert again == acknowledged, "a repeat changes nothing"
        resolved = await resolve(other, alert.id, actor="ada", reason="known", etag="")
        assert resolved.instance.state == AlertState.RESOLVED
        # An answer may be read before the lead knows that it is stored.
        await wait_until(lambda: lead.requests.answered >= 3, what="the last answer to be counted")
    assert lead.requests.answered == 3
    assert await steps_on(other, alert) == ["FIRING", "FIRING", "RESOLVED"]


async def test_every_act_is_done_once_however_often_any_replica_is_asked(pair: Pair) -> None:
    one, other = pair
    lead = await leading(one)
    await lead.tick(BUSY, 1)
    (alert,) = await alerts_on(other)
    ids = {verb: uuid7() for verb in Verb}
    asked = [
        AlertRequest(Verb.ACKNOWLEDGE, alert.id, "ada", "mine", expire_after_us=60 * SECOND),
        AlertRequest(Verb.ASSIGN, alert.id, "ada", "", assignee="bob"),
        AlertRequest(Verb.COMMENT, alert.id, "ada", "hm"),
        AlertRequest(Verb.UNACKNOWLEDGE, alert.id, "ada", "not mine"),
    ]
    async with working(lead):
        for each in asked:
            request = replace(each, request_id=ids[each.verb])
            answers = await asyncio.gather(
                *(replica.desk.act(request) for replica in (other, other, one))
            )
            assert len({answer.etag for answer in answers}) == 1
        before = replace(asked[1], request_id=ids[Verb.ASSIGN], assignee="eve")
        assert (await other.desk.act(before)).assignee == "bob", "it was done before"
        with pytest.raises(RequestIdReused):
            await other.desk.act(replace(asked[2], request_id=ids[Verb.ASSIGN]))
    queries = SqlControlQueries(other.database, other.clock)
    _, steps = await queries.alert_with_steps(alert.id)
    assert [step.act for step in steps[1:]] == [ACTS[each.verb] for each in asked]
    (alert,) = await alerts_on(other)
    assert (alert.assignee, alert.acknowledge_us) == ("bob", None)


async def test_history_is_commented_from_any_replica(pair: Pair) -> None:
    one, other = pair
    lead = await leading(one)
    await lead.tick(BUSY, 1)
    await lead.tick(IDLE, 2)
    heir = await leading(other)
    (alert,) = await alerts_on(one)
    assert heir.engine.held(alert.id) is None
    async with working(heir):
        comment = AlertRequest(Verb.COMMENT, alert.id, "ada", "it was the disk")
        assert (await one.desk.act(comment)).instance.state == AlertState.RESOLVED
        with pytest.raises(AlertResolved):
            await one.desk.act(AlertRequest(Verb.ASSIGN, alert.id, "ada", "", assignee="bob"))
    assert await steps_on(one, alert) == ["FIRING", "RESOLVED", "RESOLVED"]


async def test_an_act_of_a_newer_version_is_refused_in_words_and_stops_nothing(pair: Pair) -> None:
    one, other = pair
    lead = await leading(one)
    await lead.tick(BUSY, 1)
    (alert,) = await alerts_on(other)
    desk = SqlAlertDesk(other.database)
    asked = AlertRequest(
        Verb.COMMENT, alert.id, "ada", "hm", "", "newer", one.clock.now_us()
    )  # fmt: skip
    await desk.ask(asked)
    newer = update(ALERT_REQUESTS).where(ALERT_REQUESTS.c.id == "newer").values(verb=99)
    await other.database.write(lambda connection: connection.execute(newer).close())
    async with working(lead):
        assert (await acknowledge(other, alert.id, actor="ada", comment="", etag="")).acknowledge_us
    state, refusal = await desk.asked("newer")
    assert (state, refusal) == (RequestState.REFUSED, TOO_NEW)
    assert "older version" in str(error_of(TOO_NEW))


async def test_every_replica_refuses_alike(pair: Pair) -> None:
    one, other = pair
    lead = await leading(one)
    await lead.tick(BUSY, 1)
    (alert,) = await alerts_on(one)
    refused: list[list[PilothouseError]] = []
    async with working(lead):
        for replica in pair:
            answers = [await _refused(replica, alert.id, etag="stale")]
            answers.append(await _refused(replica, "nothing", etag=""))
            refused.append(answers)
        await resolve(one, alert.id, actor="ada", reason="", etag="")
        for answers, replica in zip(refused, pair, strict=True):
            answers.append(await _refused(replica, alert.id, etag=""))
    for here, there in zip(*refused, strict=True):
        assert type(here) is type(there)
        assert here.metadata == there.metadata
    assert [type(each) for each in refused[0]] == [EtagMismatch, NotFound, AlertResolved]
    assert other.name == "other"


async def _refused(replica: Replica, alert_id: str, *, etag: str) -> PilothouseError:
    with pytest.raises(PilothouseError) as caught:
        await acknowledge(replica, alert_id, actor="ada", comment="", etag=etag)
    return caught.value


async def test_while_nobody_leads_a_request_is_withdrawn_and_never_done(pair: Pair) -> None:
    one, other = pair
    lead = await leading(one)
    await lead.tick(BUSY, 1)
    (alert,) = await alerts_on(one)
    with pytest.raises(Unavailable, match="nothing was done"):
        await resolve(other, alert.id, actor="ada", reason="", etag="", within=0.5)
    heir = await leading(one)
    assert await heir.requests.answer_some() == 0
    assert [a.instance.state for a in await alerts_on(other)] == [AlertState.FIRING]


async def test_a_request_of_a_lead_that_died_is_answered_by_the_next_one(pair: Pair) -> None:
    one, other = pair
    died = await leading(one)
    await died.tick(BUSY, 1)
    (alert,) = await alerts_on(one)
    asking = asyncio.create_task(
        acknowledge(other, alert.id, actor="ada", comment="", etag=alert.etag)
    )

    async def taken() -> bool:
        return bool(await SqlAlertRequests(died.database).take(0, 10))

    await wait_until(taken, what="the request to be taken")
    async with working(await leading(other)):
        # The other replica leads now, and answers what it asked itself before.
        acknowledged = await asking
    assert acknowledged.acknowledged_by == "ada"
    assert await steps_on(one, alert) == ["FIRING", "FIRING"]


async def test_an_answer_that_was_stored_is_not_given_again(pair: Pair) -> None:
    """The lead dies after the act is stored: the next one finds it answered, though the alert is over by then."""
    one, other = pair
    lead = await leading(one)
    await lead.tick(BUSY, 1)
    (alert,) = await alerts_on(one)
    desk = SqlAlertDesk(other.database)
    asked = AlertRequest(Verb.ACKNOWLEDGE, alert.id, "ada", "", "", uuid7(), one.clock.now_us())
    await desk.ask(asked)
    lead.store.lose_answers = 1
    doing = asyncio.create_task(lead.requests.answer_some())
    with suppress(Unavailable):
        await wait_until(lambda: lead.journal._batch.answers, what="the act")  # pyright: ignore[reportPrivateUsage]
        await lead.journal.flush()
    await asyncio.gather(doing, return_exceptions=True)
    heir = await leading(other)
    await heir.tick(IDLE, 3)
    assert await heir.requests.answer_some() == 0
    assert (await desk.asked(asked.id)).state == RequestState.APPLIED


async def test_who_waits_when_the_tenure_ends_is_told_to_try_again(pair: Pair) -> None:
    one, other = pair
    lead = await leading(one)
    await lead.tick(BUSY, 1)
    (alert,) = await alerts_on(one)
    await leading(other)
    running = asyncio.create_task(lead.journal.run())
    with one.desk.leading(lead.engine), pytest.raises(Unavailable, match="another replica"):
        await acknowledge(one, alert.id, actor="ada", comment="", etag="")
    with pytest.raises(LeaseLost):
        await running
    with pytest.raises(Unavailable, match="another replica"):
        await lead.journal.stored()
    assert (await alerts_on(other))[0].acknowledge_us is None


async def test_old_requests_are_withdrawn_and_forgotten(pair: Pair) -> None:
    one, other = pair
    lead = await leading(one)
    await lead.tick(BUSY, 1)
    (alert,) = await alerts_on(one)
    desk = SqlAlertDesk(other.database)
    old = AlertRequest(Verb.RESOLVE, alert.id, "ada", "", "", "old", one.clock.now_us())
    await desk.ask(old)
    one.clock.ahead_us = 120 * SECOND
    assert await lead.requests.answer_some() == 0
    assert (await desk.asked("old")).state == RequestState.WITHDRAWN
    one.clock.ahead_us = 2 * 3600 * SECOND
    running = asyncio.create_task(lead.requests.run())

    async def forgotten() -> bool:
        return (await desk.asked("old")).state is None

    await wait_until(forgotten, what="the old request to be forgotten")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
