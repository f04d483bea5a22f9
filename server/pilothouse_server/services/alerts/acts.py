"""What people do with alerts, on the replica that leads: each act once, however often it is asked for.

A request id is stored with the step that it led to. Who asks with the same one at the same time waits, and then finds
that step; so does who comments what is long over, of which the engine holds nothing any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Protocol

from pilothouse_server.domain.alerts.records import Alert, AlertStep, Change
from pilothouse_server.domain.alerts.requests import AlertRequest, Answer, check_repeat, decide
from pilothouse_server.domain.errors import NotFound, Unavailable
from pilothouse_server.ports import Clock
from pilothouse_server.services.alerts.journal import AlertJournal


class Holder(Protocol):
    """Who holds the alerts that are not over, and those that were until lately."""

    def held(self, alert_id: str) -> Alert | None: ...

    def take(self, change: Change) -> None:
        """Holds the alert as it is after the change, and notes it."""
        ...

    def take_history(self, change: Change) -> None:
        """Notes what became of an alert that is not held."""
        ...


class Known(Protocol):
    """What is stored. Raises Unavailable."""

    async def find(self, alert_id: str) -> Alert | None: ...

    async def requested(self, request_id: str) -> AlertStep | None:
        """The step that this request led to."""
        ...


class Acts:
    """Does them one after another where they are about the same thing."""

    def __init__(self, holder: Holder, known: Known, journal: AlertJournal, clock: Clock) -> None:
        self._holder = holder
        self._known = known
        self._journal = journal
        self._clock = clock
        self._busy: dict[str, asyncio.Event] = {}

    async def act(self, asked: AlertRequest) -> Alert:
        """The alert after what was asked, once it is stored, and with it the answer to a request that has a row.

        Raises NotFound, AlertResolved, EtagMismatch, RequestIdReused, and Unavailable when it could not be stored yet.
        """
        if asked.id and self._journal.answers(asked.id):
            # Its row was taken a second time, since what it led to could not be stored at once.
            await self._journal.stored()
            return await self._now(asked)
        if not asked.request_id:
            return await self._act(asked)
        async with self._turn(f"request {asked.request_id}"):
            if self._journal.acts(asked.request_id):
                await self._journal.stored()
            done = await self._known.requested(asked.request_id)
            if done is None:
                return await self._act(asked)
            check_repeat(asked, done)
            self._answer(asked)
            return await self._now(asked)

    async def _now(self, asked: AlertRequest) -> Alert:
        return self._holder.held(asked.alert_id) or await self._find(asked.alert_id)

    async def _act(self, asked: AlertRequest) -> Alert:
        if self._journal.full:
            raise Unavailable(
                "alerts", "too much waits for the database, so nothing was done; try again"
            )
        alert = self._holder.held(asked.alert_id)
        if alert is None:
            return await self._act_on_history(asked)
        change = decide(asked, alert, live=alert.instance.live, now_us=self._clock.now_us())
        self._answer(asked)
        if change is None:
            return alert
        self._holder.take(change)
        await self._journal.stored()
        return change.alert

    async def _act_on_history(self, asked: AlertRequest) -> Alert:
        async with self._turn(f"alert {asked.alert_id}"):
            # It may have been let go of a moment ago, with its end still on the way.
            await self._journal.stored()
            alert = await self._find(asked.alert_id)
            change = decide(asked, alert, live=False, now_us=self._clock.now_us())
            self._answer(asked)
            if change is None:
                return alert
            self._holder.take_history(change)
            await self._journal.stored()
            return change.alert

    async def _find(self, alert_id: str) -> Alert:
        alert = await self._known.find(alert_id)
        if alert is None:
            raise NotFound(kind="alert", id=alert_id)
        return alert

    def _answer(self, asked: AlertRequest) -> None:
        if asked.id:
            self._journal.answer(Answer(asked.id))

    @asynccontextmanager
    async def _turn(self, what: str) -> AsyncGenerator[None]:
        while (busy := self._busy.get(what)) is not None:
            await busy.wait()
        done = self._busy[what] = asyncio.Event()
        try:
            yield
        finally:
            del self._busy[what]
            done.set()
