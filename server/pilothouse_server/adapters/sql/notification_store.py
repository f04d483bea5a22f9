"""What is to be told: written in the transaction of what happened."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, insert

from pilothouse_server.adapters.sql.tables_notifications import NOTIFICATION_INTENTS
from pilothouse_server.domain.notifications.intents import Intent


def add_intents(connection: Connection, intents: Iterable[Intent]) -> None:
    """Notes what happened, in this transaction and in this order."""
    rows = [{**intent._asdict(), "kind": int(intent.kind)} for intent in intents]
    if rows:
        connection.execute(insert(NOTIFICATION_INTENTS), rows)
