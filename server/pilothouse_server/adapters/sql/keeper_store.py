"""What holds runs to their budgets: reads of runs by their columns alone, and one transaction for what came of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple
from uuid import UUID, uuid5

from sqlalchemy import Connection, delete, exists, select, tuple_

from pilothouse_server.adapters.sql import budget_rows, executor_rows, outbox_store, workflow_rows
from pilothouse_server.adapters.sql.budget_uses import LIVE
from pilothouse_server.adapters.sql.command_gathering import GatheringTransaction
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.revisions import newest_revision
from pilothouse_server.adapters.sql.tables_budgets import BUDGET_STANDS, USAGE_SPANS
from pilothouse_server.adapters.sql.tables_projection import WORKFLOWS
from pilothouse_server.domain.budgets import (
    Budget,
    BudgetState,
    Finding,
    Scope,
    Stand,
    Used,
    figures,
    share_of,
    stand_of,
)
from pilothouse_server.domain.commands import Command, CommandState, Deadlines, Executor
from pilothouse_server.domain.errors import CommandPending, IllegalTransition, NoExecutor
from pilothouse_server.domain.events import Event, EventType, Severity
from pilothouse_server.domain.projection.workflow import WorkflowRecord
from pilothouse_server.domain.settling import SERVER_SOURCE
from pilothouse_server.domain.workflows import Action, WorkflowState
from pilothouse_server.services.asking import Asking, ControlRequest, ask
from pilothouse_server.services.budget_keeper import (
    AWAY_US,
    FIRST_RETRY_US,
    MOST_TRIES,
    PAUSABLE,
    Place,
    Run,
    RunPage,
)

NAMESPACE: Final = UUID("0c6a2f5e-9b53-5f0a-8d1b-3f2f6f1f7c11")
"""Of the ids that follow from what is told or asked, so that each is told and asked once."""
_W = WORKFLOWS.c
_RUN = (
    _W.id, _W.type, _W.state, _W.attempt, _W.create_us, _W.start_us, _W.end_us, _W.tokens, _W.cost_micros,
    _W.revision,
)  # fmt: skip
_SAID = {
    BudgetState.WARNING: (EventType.BUDGET_WARNING, Severity.WARNING),
    BudgetState.EXCEEDED: (EventType.BUDGET_EXCEEDED, Severity.ERROR),
}


class SqlKeeper:
    """Implements `services.budget_keeper.KeeperStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def in_force(self) -> Sequence[Budget]:
        every = await self._database.read(budget_rows.every)
        return [each for each in every if each.enabled]

    async def newest_revision(self) -> int:
        return await self._database.read(newest_revision)

    async def live(self, after: Place, limit: int) -> RunPage:
        return await self._database.read(lambda connection: _live(connection, after, limit))

    async def changed(self, mark: int, limit: int) -> Sequence[Run]:
        query = select(*_RUN).where(_W.revision > mark).order_by(_W.revision).limit(limit)
        return await self._database.read(lambda connection: _runs(connection, query))

    async def begun(self, after_us: int, until_us: int, limit: int) -> Sequence[Run]:
        query = (
            select(*_RUN)
            .where(_W.start_us > after_us, _W.start_us <= until_us)
            .order_by(_W.start_us, _W.id)
            .limit(limit)
        )
        return await self._database.read(lambda connection: _runs(connection, query))

    async def windows(self, budgets: Sequence[Budget], now_us: int) -> Mapping[str, Used]:
        def run(connection: Connection) -> dict[str, Used]:
            return {each.id: budget_rows.window(connection, each, now_us) for each in budgets}

        return await self._database.read(run)

    async def stands(self, budget_ids: Sequence[str]) -> Mapping[str, BudgetState]:
        def run(connection: Connection) -> dict[str, BudgetState]:
            versions = {each.id: each.version for each in budget_rows.every(connection)}
            found = budget_rows.stands(connection, [(each, "") for each in budget_ids])
            return {
                stand.budget_id: stand.state
                for stand in found.values()
                if stand.version == versions.get(stand.budget_id)
            }

        return await self._database.read(run)

    async def settle(self, findings: Sequence[Finding], now_us: int, deadlines: Deadlines) -> int:
        # Most of what is found was told before: whoever looks first need not keep others from writing.
        known = await self._database.read(
            lambda connection: budget_rows.stands(connection, [each.key for each in findings])
        )
        news = [each for each in findings if _is_news(each, known.get(each.key))]
        if not news:
            return 0
        return await self._database.write(lambda c: _settle(c, news, _When(now_us, deadlines)))

    async def follow_up(self, now_us: int, limit: int, deadlines: Deadlines) -> int:
        due = await self._database.read(lambda c: budget_rows.due(c, now_us, limit))
        if not due:
            return 0
        return await self._database.write(lambda c: _follow_up(c, limit, _When(now_us, deadlines)))

    async def prune(self, before_us: int) -> None:
        there = exists().where(_W.id == BUDGET_STANDS.c.workflow_id)
        gone = delete(BUDGET_STANDS).where(BUDGET_STANDS.c.workflow_id != "", ~there)
        old = delete(USAGE_SPANS).where(USAGE_SPANS.c.start_us < before_us)

        def run(connection: Connection) -> None:
            connection.execute(gone)
            connection.execute(old)

        await self._database.write(run)


class _When(NamedTuple):
    now_us: int
    deadlines: Deadlines


class _Asked(NamedTuple):
    """A pause that is to be asked for, and what is known of it so far."""

    finding: Finding
    stand: Stand

    @property
    def name(self) -> str:
        """What tells it from every other one."""
        stand = self.stand
        return (
            f"{stand.budget_id}:{stand.version}:{stand.workflow_id}:{stand.attempt}:{stand.tries}"
        )


def _is_news(finding: Finding, before: Stand | None) -> bool:
    stand = stand_of(finding, before)
    crosses = finding.tell and finding.state != stand.state
    return crosses or (finding.pause and not stand.tries)


def _settle(connection: Connection, findings: Sequence[Finding], when: _When) -> int:
    in_force = {(each.id, each.version) for each in budget_rows.every(connection) if each.enabled}
    known = budget_rows.stands(connection, [each.key for each in findings])
    stands: dict[tuple[str, str], Stand] = {}
    events: list[Event] = []
    asked: list[_Asked] = []
    for finding in findings:
        if (finding.budget.id, finding.budget.version) not in in_force:
            continue
        before = known.get(finding.key)
        if not _is_news(finding, before):
            continue
        stand = stand_of(finding, before)
        if finding.tell and finding.state != stand.state:
            if finding.state > stand.state:
                stand = replace(stand, crossings=stand.crossings + 1)
                events.append(_event(finding, stand, when.now_us))
            elif finding.workflow_id:
                continue  # what a run used does not become less: it was read before it was told of
            stand = replace(stand, state=finding.state)
        if finding.pause and not stand.tries:
            asked.append(_Asked(finding, replace(stand, tries=1)))
        stands[finding.key] = stand
    stands |= _ask(connection, asked, when)
    budget_rows.put_stands(connection, list(stands.values()))
    outbox_store.add(connection, events)
    return len(events) + len(asked)


def _ask(
    connection: Connection, asked: Sequence[_Asked], when: _When
) -> dict[tuple[str, str], Stand]:
    """Asks for the pauses; returns what is known of each after that."""
    if not asked:
        return {}
    requests = {each.finding.key: _request(each) for each in asked}
    runs = [each.finding.workflow_id for each in asked]
    ids = [request.request_id for request in requests.values()]
    transaction = GatheringTransaction(connection, runs, ids)
    found: dict[tuple[str, str], Stand] = {}
    for each in asked:
        asking = Asking(_id(f"command:{each.name}"), when.now_us, when.deadlines)
        answer = ask(transaction, requests[each.finding.key], asking)
        stand, later_us = each.stand, when.now_us + (FIRST_RETRY_US << (each.stand.tries - 1))
        match answer:
            case Command():
                look_us = when.now_us + FIRST_RETRY_US
                stand = replace(stand, command_id=answer.id, look_us=look_us)
            case CommandPending() | NoExecutor() if stand.tries < MOST_TRIES:
                stand = replace(stand, command_id="", look_us=later_us)
            case IllegalTransition():
                # It was paused or ended meanwhile; when it goes on it is found again.
                stand = replace(stand, tries=0, look_us=None)
            case _:
                stand = replace(stand, look_us=None)
        found[each.finding.key] = stand
    transaction.flush()
    return found


def _request(asked: _Asked) -> ControlRequest:
    budget = asked.finding.budget
    return ControlRequest(
        workflow_id=asked.finding.workflow_id,
        action=Action.PAUSE,
        reason=asked.finding.words,
        request_id=_id(f"request:{asked.name}"),
        actor=budget.actor,
        budget_id=budget.id,
    )


def _follow_up(connection: Connection, limit: int, when: _When) -> int:
    due = budget_rows.due(connection, when.now_us, limit)
    budgets = {each.id: each for each in budget_rows.every(connection) if each.enabled}
    runs = workflow_rows.load(connection, {each.workflow_id for each in due})
    engines = executor_rows.named(connection, {run.source[2] for run in runs.values()})
    transaction = GatheringTransaction(connection, list(runs), [])
    stands: dict[tuple[str, str], Stand] = {}
    again: list[_Asked] = []
    for stand in due:
        key = (stand.budget_id, stand.workflow_id)
        budget, run = budgets.get(stand.budget_id), runs.get(stand.workflow_id)
        command = transaction.get(stand.command_id) if stand.command_id else None
        stands[key] = replace(stand, look_us=None)
        if command is not None and command.pending:
            stands[key] = replace(stand, look_us=when.now_us + FIRST_RETRY_US)
        elif command is not None and command.state == CommandState.EFFECTIVE:
            continue
        elif budget is not None and run is not None and _goes_on(stand, budget, run):
            if _is_away(engines.get(run.source[2]), command):
                stands[key] = replace(stand, look_us=when.now_us + AWAY_US)
                continue
            finding = _again(budget, run, when.now_us)
            again.append(_Asked(finding, replace(stand, tries=stand.tries + 1)))
    stands |= _ask(connection, again, when)
    budget_rows.put_stands(connection, list(stands.values()))
    return len(again)


def _is_away(engine: Executor | None, command: Command | None) -> bool:
    """Whether nobody is there to be asked: that is no try, however long it lasts."""
    if engine is None:
        return True
    if command is None or command.state != CommandState.EXPIRED:
        return False
    return command.accept_us is None and not engine.connected


def _goes_on(stand: Stand, budget: Budget, run: WorkflowRecord) -> bool:
    """Whether the pause is still to be asked for."""
    same = (stand.version, stand.attempt) == (budget.version, run.attempt)
    return same and budget.pause and run.state in PAUSABLE and stand.tries < MOST_TRIES


def _again(budget: Budget, run: WorkflowRecord, now_us: int) -> Finding:
    usage, started_us = run.usage, run.start_us
    elapsed = None if started_us is None else max(0, now_us - started_us)
    used = Used(usage.input_tokens + usage.output_tokens, usage.cost_micros, elapsed)
    words = figures(budget, used)
    if budget.scope == Scope.TYPE:
        words = "what runs may use together is used up"
    share = share_of(budget.ceilings, used)
    return Finding(
        budget, run.id, run.type[1], run.attempt, BudgetState.EXCEEDED, share, used, words=words
    )


def _event(finding: Finding, stand: Stand, now_us: int) -> Event:
    kind, severity = _SAID[finding.state]
    budget = finding.budget
    verb = "is used up" if finding.state == BudgetState.EXCEEDED else "comes near its end"
    crossing = f"{stand.workflow_id}:{stand.attempt}:{stand.crossings}:{int(finding.state)}"
    return Event(
        id=_id(f"event:{budget.id}:{budget.version}:{crossing}"),
        type=kind,
        occur_us=now_us,
        receive_us=now_us,
        source=SERVER_SOURCE,
        workflow_id=finding.workflow_id,
        workflow_type=finding.workflow_type,
        severity=severity,
        message=f"the budget {budget.name} {verb}: {finding.words}",
        attributes={
            "budget_id": budget.id,
            "budget": budget.name,
            "share": f"{finding.share:.4f}",
            "tokens": str(finding.used.tokens),
            "cost_micros": str(finding.used.cost_micros),
        },
    )


def _live(connection: Connection, after: Place, limit: int) -> RunPage:
    """One state after the other, in the order of its index."""
    for state in LIVE:
        if state < after.state:
            continue
        query = select(*_RUN).where(_W.state == state)
        if state == after.state:
            query = query.where(tuple_(_W.create_us, _W.id) > (after.create_us, after.id))
        runs = _runs(connection, query.order_by(_W.create_us, _W.id).limit(limit))
        if runs:
            return RunPage(runs, Place(state, runs[-1].create_us, runs[-1].id))
    return RunPage((), None)


def _runs(connection: Connection, query: Any) -> list[Run]:
    return [
        Run._make((row.id, row.type, WorkflowState(row.state), *row[3:]))
        for row in connection.execute(query)
    ]


def _id(name: str) -> str:
    return str(uuid5(NAMESPACE, name))
