"""Requests that were done, as rows; a part of the transactions of the acts."""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, select

from pilothouse_server.adapters.sql.tables_budgets import DONE_REQUESTS
from pilothouse_server.services.done_requests import KEPT_US, Done


class SqlDoneRequests:
    """Implements `services.done_requests.DoneRequests`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def done(self, request_id: str) -> Done | None:
        query = select(DONE_REQUESTS.c.digest, DONE_REQUESTS.c.answer).where(
            DONE_REQUESTS.c.request_id == request_id
        )
        row = self._connection.execute(query).first()
        return None if row is None else Done(row.digest, row.answer)

    def note_done(self, request_id: str, done: Done, now_us: int) -> None:
        old = delete(DONE_REQUESTS).where(DONE_REQUESTS.c.done_us < now_us - KEPT_US)
        self._connection.execute(old)
        row = {"request_id": request_id, "digest": done.digest, "done_us": now_us}
        self._connection.execute(insert(DONE_REQUESTS).values(answer=dict(done.answer), **row))
