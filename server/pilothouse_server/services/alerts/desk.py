"""Where people turn to about alerts, on every replica: the one that leads acts itself, the others ask it through the
database and wait for its answer.

A request that nobody took is withdrawn before its asker is told so; one that was taken is answered in the transaction
of the act itself, so however often the lead changes in between, it is done once or not at all.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any, Final, NamedTuple, Protocol

from pilothouse_server.domain.alerts.records import Alert
from pilothouse_server.domain.alerts.requests import (
    REFUSALS,
    AlertRequest,
    Answer,
    Refusal,
    RequestState,
    error_of,
    refusal_of,
)
from pilothouse_server.domain.errors import NotFound, Unavailable
from pilothouse_server.ports import Clock
from pilothouse_server.services.alerts.engine import AlertEngine
from pilothouse_server.services.fanout import Changes

PATIENCE: Final = 5.0
"""Seconds that somebody waits for the replica that leads, when the caller's own deadline is not nearer."""
MARGIN: Final = 0.25
"""Seconds kept of the caller's deadline for withdrawing the request and for the answer."""
LOOK: Final = 0.5
"""Seconds between two looks for an answer when nobody rings."""
LEAD_LOOK: Final = 1.0
"""Seconds between two looks of the lead for requests when nobody rings."""
RETRY: Final = 0.5
"""Seconds after which the lead tries again when the database did not answer."""
AT_ONCE: Final = 100
"""Requests taken at once."""
STALE_US: Final = 60_000_000
"""Age at which a request is withdrawn: whoever asked was told long ago that nobody answers."""
KEPT_US: Final = 3_600_000_000
"""For how long requests are kept."""
METERS_EVERY: Final = 5.0
"""Seconds between two notes of the lead about what became of its rules."""


class Asked(NamedTuple):
    """Where a request stands; None when it is not there (any more)."""

    state: RequestState | None
    refusal: Refusal | None = None


class AlertDeskStore(Protocol):
    """What a replica that does not lead needs. Everything raises Unavailable."""

    async def ask(self, request: AlertRequest) -> None: ...

    async def asked(self, request_id: str) -> Asked: ...

    async def withdraw(self, request_id: str) -> bool:
        """Whether nobody had taken it; then nobody will."""
        ...

    async def find(self, alert_id: str) -> Alert | None: ...


class AlertRequestStore(Protocol):
    """What the replica that leads needs. Everything raises Unavailable, and LeaseLost when another leads."""

    async def take(self, stale_us: int, limit: int) -> Sequence[AlertRequest]:
        """The oldest that are not answered, taken; those from before `stale_us` are withdrawn."""
        ...

    async def note(self, meters: Mapping[str, Any], now_us: int, prune_us: int) -> None:
        """Stores what became of each rule's evaluations, and forgets requests from before `prune_us`."""
        ...


class AlertDesk:
    """Acts on alerts. Lives as long as the process; `leading` while this replica leads."""

    def __init__(
        self,
        store: AlertDeskStore,
        clock: Clock,
        requests: Changes,
        new_id: Callable[[], str],
        *,
        patience: float = PATIENCE,
    ) -> None:
        self._store = store
        self._clock = clock
        self._requests = requests
        self._new_id = new_id
        self._patience = patience
        self._engine: AlertEngine | None = None

    @contextmanager
    def leading(self, engine: AlertEngine) -> Generator[None]:
        """This replica leads, with an engine that has started. On leaving, who waits for it is told to ask again."""
        self._engine = engine
        try:
            yield
        finally:
            if self._engine is engine:
                self._engine = None
            engine.journal.close()

    @property
    def engine(self) -> AlertEngine | None:
        """While this replica leads."""
        return self._engine

    async def act(self, asked: AlertRequest, *, within: float | None = None) -> Alert:
        """The alert after what was asked; a repeat changes nothing. `within` are the seconds that the caller waits.

        Raises NotFound, AlertResolved, EtagMismatch, RequestIdReused, and Unavailable when nobody leads.
        """
        if self._engine is not None:
            return await self._engine.act(asked)
        patience = self._patience
        if within is not None:
            patience = max(0.0, min(patience, within - MARGIN))
        request = replace(asked, id=self._new_id(), request_us=self._clock.now_us())
        await self._store.ask(request)
        self._requests.notify()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                return await self._answered(request)
        if await self._store.withdraw(request.id):
            raise Unavailable(
                "alerts",
                "no replica takes care of alerts at the moment, so nothing was done; try again",
            )
        answer = await self._answer(request)
        if answer is None:
            raise Unavailable(
                "alerts",
                "the replica that takes care of alerts did not answer in time; try again, nothing is done twice",
            )
        return answer

    async def _answered(self, request: AlertRequest) -> Alert:
        while True:
            seen = self._requests.version
            answer = await self._answer(request)
            if answer is not None:
                return answer
            await self._requests.wait(seen, LOOK)

    async def _answer(self, request: AlertRequest) -> Alert | None:
        """The alert after it was done, None while it is not. Raises what it was refused with."""
        state, refusal = await self._store.asked(request.id)
        if refusal is not None:
            raise error_of(refusal)
        if state != RequestState.APPLIED:
            return None
        alert = await self._store.find(request.alert_id)
        if alert is None:
            raise NotFound(kind="alert", id=request.alert_id)
        return alert


class AlertRequests:
    """Does for others what they ask of alerts, while this replica leads."""

    def __init__(
        self, store: AlertRequestStore, engine: AlertEngine, clock: Clock, requests: Changes
    ) -> None:
        self._store = store
        self._engine = engine
        self._clock = clock
        self._requests = requests
        self._noted_at: float | None = None
        self.answered = 0

    async def run(self) -> None:
        """Answers until it is cancelled. Raises LeaseLost when another replica leads."""
        while True:
            seen = self._requests.version
            try:
                await self.answer_some()
                await self._note()
            except Unavailable:
                await self._clock.sleep(RETRY)
                continue
            await self._requests.wait(seen, LEAD_LOOK)

    async def answer_some(self) -> int:
        """Does what was asked; returns how many requests there were, once their answers are stored."""
        now_us = self._clock.now_us()
        taken = await self._store.take(now_us - STALE_US, AT_ONCE)
        for request in taken:
            await self._do(request)
        if taken:
            await self._engine.journal.stored()
            self.answered += len(taken)
        return len(taken)

    async def _do(self, request: AlertRequest) -> None:
        try:
            await self._engine.act(request)
        except REFUSALS as error:
            self._engine.journal.answer(Answer(request.id, refusal_of(error)))

    async def _note(self) -> None:
        now = self._clock.monotonic()
        if self._noted_at is None or now - self._noted_at >= METERS_EVERY:
            now_us = self._clock.now_us()
            meters = {rule_id: asdict(each) for rule_id, each in self._engine.meters().items()}
            await self._store.note(meters, now_us, now_us - KEPT_US)
            self._noted_at = now
