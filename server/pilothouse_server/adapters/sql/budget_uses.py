"""How runs stand against a budget: the nearest to a ceiling of all that have not ended, found by the database."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Float,
    Select,
    case,
    cast,
    literal,
    select,
    union_all,
)

from pilothouse_server.adapters.sql import budget_rows, workflow_rows
from pilothouse_server.adapters.sql.tables_projection import WORKFLOWS
from pilothouse_server.domain.budgets import (
    MINUTE_US,
    RATE_US,
    Budget,
    Rate,
    Scope,
    Stand,
    Use,
    Used,
    exceed_us,
    share_of,
    state_of,
)
from pilothouse_server.domain.projection.workflow import WorkflowRecord
from pilothouse_server.domain.workflows import ENDED, WorkflowState

SHOWN: Final = 20
SEEN: Final = 5_000
"""Runs in each state, the newest ones, among which the nearest to a ceiling are looked for."""
LIVE = [int(state) for state in WorkflowState if state not in ENDED]
_W = WORKFLOWS.c


def uses(connection: Connection, budget: Budget, workflow_id: str, now_us: int) -> list[Use]:
    """The nearest to a ceiling first; of one run alone if stated."""
    if budget.scope == Scope.TYPE:
        return [_of_type(connection, budget, now_us)]
    only = workflow_id or budget.workflow_id
    ids = [only] if only else [row.id for row in connection.execute(_nearest(budget, now_us))]
    records = workflow_rows.load(connection, ids)
    stands = budget_rows.stands(connection, [(budget.id, each) for each in records])
    found = [
        _of_run(budget, record, stands.get((budget.id, each)), now_us)
        for each, record in records.items()
        if budget.counts(each, record.type[1])
    ]
    return sorted(found, key=lambda use: (-use.share, use.workflow_id))


def _nearest(budget: Budget, now_us: int) -> Select[tuple[str]]:
    """One state at a time, so that the index of states is what is looked through; a type is compared in a way that
    lets no planner look through all runs of the type that ever were."""
    parts: list[Select[Any]] = []
    for state in LIVE:
        query = select(_W.id, _W.tokens, _W.cost_micros, _W.start_us).where(_W.state == state)
        if budget.workflow_type:
            query = query.where(_W.type.concat("") == budget.workflow_type)
        newest = query.order_by(_W.create_us.desc(), _W.id.desc()).limit(SEEN).subquery()
        parts.append(select(newest))
    live = union_all(*parts).subquery("live")
    share = _share(budget, live.c, now_us)
    return select(live.c.id).order_by(share.desc(), live.c.id).limit(SHOWN)


def _share(budget: Budget, columns: Any, now_us: int) -> ColumnElement[Any]:
    ceilings = budget.ceilings
    shares: list[ColumnElement[Any]] = []
    if ceilings.tokens:
        shares.append(cast(columns.tokens, Float) / float(ceilings.tokens))
    if ceilings.cost_micros:
        shares.append(cast(columns.cost_micros, Float) / float(ceilings.cost_micros))
    if ceilings.duration_us:
        elapsed = literal(now_us) - columns.start_us
        known = cast(elapsed, Float) / float(ceilings.duration_us)
        shares.append(case((columns.start_us.is_(None), 0.0), else_=known))
    largest = shares[0]
    for other in shares[1:]:
        largest = case((other > largest, other), else_=largest)
    return largest


def _of_type(connection: Connection, budget: Budget, now_us: int) -> Use:
    used = budget_rows.window(connection, budget, now_us)
    rate = budget_rows.rate(connection, budget, now_us)
    share = share_of(budget.ceilings, used)
    return Use(
        workflow_id="",
        workflow_type=budget.workflow_type,
        state=state_of(budget, share),
        used=used,
        share=share,
        rate=rate,
        exceed_us=exceed_us(budget, used, rate, now_us, timed=False),
    )


def _of_run(budget: Budget, record: WorkflowRecord, stand: Stand | None, now_us: int) -> Use:
    ended = record.state in ENDED
    until_us = (record.end_us if ended else None) or now_us
    elapsed = None if record.start_us is None else max(0, until_us - record.start_us)
    usage = record.usage
    used = Used(usage.input_tokens + usage.output_tokens, usage.cost_micros, elapsed)
    share = share_of(budget.ceilings, used)
    rate = None if ended else _rate(record, now_us)
    due_us = None if ended else exceed_us(budget, used, rate, now_us, timed=True)
    return Use(
        workflow_id=record.id,
        workflow_type=record.type[1],
        state=state_of(budget, share),
        used=used,
        share=share,
        rate=rate,
        exceed_us=due_us,
        command_id="" if stand is None else stand.command_id,
    )


def _rate(record: WorkflowRecord, now_us: int) -> Rate | None:
    """Over the last five minutes, or since it was started if that is less; None under a minute."""
    if record.start_us is None or now_us - record.start_us < MINUTE_US:
        return None
    since_us = now_us // MINUTE_US * MINUTE_US - RATE_US + MINUTE_US
    over_us = now_us - max(since_us, record.start_us)
    return Rate(*record.burn.within(since_us), max(over_us, 1))
