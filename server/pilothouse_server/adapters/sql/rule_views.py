"""Rules for whoever looks at them, and what the replica that leads noted of their evaluations."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, func, select

from pilothouse_server.adapters.sql import alert_store, rule_store
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.tables_control import ALERT_CLOCK, ALERTS
from pilothouse_server.domain.alerts.rules import Rule
from pilothouse_server.domain.alerts.states import AlertState
from pilothouse_server.services.alerts.ruleviews import Noted

_ALIVE = [int(state) for state in AlertState if state != AlertState.RESOLVED]


class SqlRuleViews:
    """Reads only."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def rules(self, rule_id: str = "") -> tuple[Sequence[Rule], Noted]:
        return await self._database.read(
            lambda connection: (_rules(connection, rule_id), _noted(connection))
        )

    async def noted(self) -> Noted:
        return await self._database.read(_noted)


def _rules(connection: Connection, rule_id: str) -> Sequence[Rule]:
    if not rule_id:
        return rule_store.every(connection)
    found = rule_store.SqlRuleTransaction(connection).get(rule_id)
    return [] if found is None else [found]


def _noted(connection: Connection) -> Noted:
    live = (
        select(ALERTS.c.rule_id, func.count())
        .where(ALERTS.c.state.in_(_ALIVE))
        .group_by(ALERTS.c.rule_id)
    )
    clock = select(ALERT_CLOCK.c.meters, ALERT_CLOCK.c.meters_us).where(
        ALERT_CLOCK.c.id == alert_store.CLOCK
    )
    noted = connection.execute(clock).first()
    return Noted(
        {rule_id: count for rule_id, count in connection.execute(live)},  # noqa: C416 - rows are no pairs to mypy
        None if noted is None else noted.meters,
        0 if noted is None else noted.meters_us,
    )
