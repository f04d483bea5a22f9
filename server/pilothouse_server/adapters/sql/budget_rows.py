"""Budgets and stands as rows, and what was used, as parts of transactions."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    Connection,
    Integer,
    RowMapping,
    and_,
    delete,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)

from pilothouse_server.adapters.sql import bulk
from pilothouse_server.adapters.sql.tables_budgets import BUDGET_STANDS, BUDGETS, USAGE_SPANS
from pilothouse_server.adapters.sql.workflow_rows import LARGEST
from pilothouse_server.domain.budgets import (
    Budget,
    BudgetState,
    Rate,
    Stand,
    Used,
    from_document,
    to_document,
)

MINUTE_US = 60_000_000
HOUR_US = 60 * MINUTE_US
RATE_MINUTES = 5
_LOW = (1 << 32) - 1
_S, _U = BUDGET_STANDS.c, USAGE_SPANS.c


def every(connection: Connection) -> list[Budget]:
    """All budgets, by name."""
    rows = connection.execute(select(BUDGETS).order_by(BUDGETS.c.name)).mappings()
    return [_budget(row) for row in rows]


def put(connection: Connection, budget: Budget) -> None:
    """Stores a budget, new or changed."""
    row: dict[str, Any] = {
        name: getattr(budget, name)
        for name in ("id", "name", "version", "create_us", "update_us", "updated_by")
    }
    row["document"] = to_document(budget)
    changed = update(BUDGETS).where(BUDGETS.c.id == budget.id).values(row)
    if not connection.execute(changed).rowcount:
        connection.execute(insert(BUDGETS).values(row))


def remove(connection: Connection, budget_id: str) -> None:
    """Forgets a budget, and what was told of it."""
    connection.execute(delete(BUDGET_STANDS).where(_S.budget_id == budget_id))
    connection.execute(delete(BUDGETS).where(BUDGETS.c.id == budget_id))


def stands(
    connection: Connection, keys: Collection[tuple[str, str]]
) -> dict[tuple[str, str], Stand]:
    """What is known of these pairs of a budget and a run."""
    wanted, found = sorted(set(keys)), dict[tuple[str, str], Stand]()
    size = bulk.keys_at_once(connection)
    for start in range(0, len(wanted), size):
        some = wanted[start : start + size]
        among = bulk.among(connection, [_S.budget_id, _S.workflow_id], some)
        for row in connection.execute(select(BUDGET_STANDS).where(among)).mappings():
            found[row["budget_id"], row["workflow_id"]] = _stand(row)
    return found


def due(connection: Connection, now_us: int, limit: int) -> list[Stand]:
    """Those of which it is time to look what came of their pause."""
    query = (
        select(BUDGET_STANDS)
        .where(_S.look_us.is_not(None), _S.look_us <= now_us)
        .order_by(_S.look_us)
        .limit(limit)
    )
    return [_stand(row) for row in connection.execute(query).mappings()]


def put_stands(connection: Connection, changed: Sequence[Stand]) -> None:
    """Stores them."""
    columns = [column.name for column in BUDGET_STANDS.columns]
    rows = [[getattr(each, name) for name in columns] for each in changed]
    bulk.upsert(connection, BUDGET_STANDS, rows)


def window(connection: Connection, budget: Budget, now_us: int) -> Used:
    """What was used within the budget's window: whole hours, and the minutes before the first of them."""
    since_us = _minute_after(now_us - budget.window_us)
    hour_us = -(-since_us // HOUR_US) * HOUR_US
    spans = or_(
        and_(_U.seconds == 60, _U.start_us >= since_us, _U.start_us < hour_us),
        and_(_U.seconds == 3600, _U.start_us >= hour_us),
    )
    tokens, cost = _sum(connection, budget.workflow_type, spans)
    return Used(tokens, cost)


def rate(connection: Connection, budget: Budget, now_us: int) -> Rate | None:
    """How fast the type goes on; None when it is known for less than a minute."""
    since_us = now_us // MINUTE_US * MINUTE_US - (RATE_MINUTES - 1) * MINUTE_US
    first = select(func.min(_U.start_us)).where(_U.of_all == 1, _U.seconds == 60)
    begun_us = connection.execute(first.where(_U.workflow_type == "")).scalar()
    if begun_us is None or now_us - begun_us < MINUTE_US:
        return None
    spans = and_(_U.seconds == 60, _U.start_us >= since_us)
    return Rate(*_sum(connection, budget.workflow_type, spans), now_us - max(since_us, begun_us))


def _sum(connection: Connection, workflow_type: str, spans: Any) -> tuple[int, int]:
    """Of one type, or of all together. Summed in halves, which no database can find too large."""
    columns = (_U.tokens, _U.cost_micros)
    halves = [
        func.sum(half)
        for column in columns
        for half in (column.bitwise_rshift(literal(32, Integer)), column.bitwise_and(_LOW))
    ]
    query = select(*halves).where(
        _U.of_all == (0 if workflow_type else 1), _U.workflow_type == workflow_type, spans
    )
    parts = [int(part or 0) for part in connection.execute(query).one()]
    tokens, cost = ((high << 32) + low for high, low in zip(parts[::2], parts[1::2], strict=True))
    return min(tokens, LARGEST), min(cost, LARGEST)


def _minute_after(at_us: int) -> int:
    return -(-at_us // MINUTE_US) * MINUTE_US


def _budget(row: Mapping[str, Any] | RowMapping) -> Budget:
    kept = {name: row[name] for name in ("version", "create_us", "update_us", "updated_by")}
    return from_document(row["document"], id=row["id"], name=row["name"], **kept)


def _stand(row: Mapping[str, Any] | RowMapping) -> Stand:
    fields: dict[str, Any] = {**row}
    fields["state"] = BudgetState(fields["state"])
    return Stand(**fields)
