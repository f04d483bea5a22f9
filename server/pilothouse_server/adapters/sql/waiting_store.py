"""The conditions that reasons for waiting depend on, and the workflows that one concerns."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import Connection, delete, select

from pilothouse_server.adapters.sql import waiting_facts, workflow_rows
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.tables_budgets import ENGINES_HEARD
from pilothouse_server.adapters.sql.tables_control import EXECUTORS
from pilothouse_server.adapters.sql.tables_projection import WORKFLOWS
from pilothouse_server.adapters.sql.waiting_facts import Moment
from pilothouse_server.domain.waiting import Engine, Pool
from pilothouse_server.domain.workflows import ENDED, WorkflowState
from pilothouse_server.services.waiting import Condition, Kind

ENGINES = 1_000
"""Engines, those heard last, that are compared."""
NEEDS = 256
"""Different needs of workflows that are compared."""
_LIVE = [int(state) for state in WorkflowState if state not in ENDED]
_W = WORKFLOWS.c


class SqlWaiting:
    """Implements `services.waiting.WaitingStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def conditions(
        self, now_us: int, offline_after_us: int, silent_after_us: int
    ) -> Mapping[Condition, str]:
        moment = Moment(now_us, offline_after_us, silent_after_us)
        return await self._database.read(lambda connection: _conditions(connection, moment))

    async def concerned(self, changed: Sequence[Condition], limit: int) -> Sequence[str]:
        return await self._database.read(lambda connection: _concerned(connection, changed, limit))

    async def show(self, workflow_ids: Sequence[str]) -> None:
        await self._database.write(lambda connection: workflow_rows.touch(connection, workflow_ids))

    async def forget(self, before_us: int) -> None:
        """Forgets engines that were not heard since."""
        old = delete(ENGINES_HEARD).where(ENGINES_HEARD.c.heard_us < before_us)
        await self._database.write(lambda connection: connection.execute(old))


def _conditions(connection: Connection, moment: Moment) -> dict[Condition, str]:
    heard = select(ENGINES_HEARD.c.source).order_by(ENGINES_HEARD.c.heard_us.desc()).limit(ENGINES)
    sources = set(connection.execute(heard).scalars())
    joined = select(EXECUTORS.c.source).where(EXECUTORS.c.connected.is_(True)).limit(ENGINES)
    connected = set(connection.execute(joined).scalars())
    found: dict[Condition, str] = {}
    for source, engine in waiting_facts.engines(connection, sources).items():
        engine = engine._replace(connected=source in connected)  # noqa: PLW2901
        found[Condition(Kind.ENGINE, source)] = _engine(engine, moment)
    kinds = {kind for needs in _needs(connection) for kind in needs.split("\n")}
    pools = waiting_facts.pools(connection, kinds, moment)
    for kind in kinds:
        found[Condition(Kind.AGENTS, kind)] = _pool(pools.get(kind, Pool()))
    return found


def _engine(engine: Engine, moment: Moment) -> str:
    silent = "silent" if engine.silent(moment.now_us, moment.silent_after_us) else "there"
    return "\n".join([silent, *(repr(hold[:3]) for hold in engine.holds)])


def _pool(pool: Pool) -> str:
    if not pool.there:
        return "none"
    if pool.draining >= pool.there:
        return "draining"
    return "full" if pool.draining + pool.full >= pool.there else "free"


def _needs(connection: Connection) -> Sequence[str]:
    """What workflows wait for: each need is looked up in the index after the one before it, so many that wait for the
    same cost nothing."""
    found: list[str] = []
    last = ""
    while len(found) < NEEDS:
        query = select(_W.waits_for).where(_W.waits_for != "", _W.waits_for > last)
        nearest = connection.execute(query.order_by(_W.waits_for).limit(1)).scalar()
        if nearest is None:
            break
        found.append(nearest)
        last = nearest
    return found


def _concerned(connection: Connection, changed: Collection[Condition], limit: int) -> list[str]:
    found: dict[str, None] = {}
    kinds = {each.name for each in changed if each.kind == Kind.AGENTS}
    needs = [each for each in _needs(connection) if not kinds.isdisjoint(each.split("\n"))]
    if needs:
        waits = select(_W.id).where(_W.waits_for != "", _W.waits_for.in_(needs)).limit(limit)
        found.update(dict.fromkeys(connection.execute(waits).scalars()))
    sources = [each.name for each in changed if each.kind == Kind.ENGINE]
    for state in _LIVE if sources else ():
        runs = (
            select(_W.id)
            .where(_W.state == state, _W.source.in_(sources))
            .order_by(_W.create_us.desc(), _W.id.desc())
            .limit(limit)
        )
        found.update(dict.fromkeys(connection.execute(runs).scalars()))
    return list(found)[:limit]
