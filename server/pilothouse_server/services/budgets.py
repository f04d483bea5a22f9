"""Budgets: made, changed and deleted by people; each act is one transaction with its record in the audit log."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol, TypeVar

from pilothouse_server.domain.audit import Author, Entry, Outcome, done
from pilothouse_server.domain.budgets import (
    MOST_BUDGETS,
    Budget,
    Use,
    differing,
    same,
    to_document,
    told,
    validate,
)
from pilothouse_server.domain.errors import (
    AlreadyThere,
    EtagMismatch,
    LimitExceeded,
    NotFound,
    PilothouseError,
)
from pilothouse_server.domain.events import EventError
from pilothouse_server.ports import Clock
from pilothouse_server.services.done_requests import Done, DoneRequests, digest_of, repeated

T = TypeVar("T")


class BudgetTransaction(DoneRequests, Protocol):
    """What is read and changed, within one transaction in which nobody else writes."""

    def every(self) -> Sequence[Budget]:
        """All of them, by name."""
        ...

    def put(self, budget: Budget) -> None: ...

    def remove(self, budget_id: str) -> None:
        """Forgets it and what was told of it."""
        ...

    def record(self, entries: Sequence[Entry]) -> None: ...


class BudgetView(NamedTuple):
    """One budget with where things stand, nearest to a ceiling first."""

    budget: Budget
    uses: Sequence[Use]


class BudgetStore(Protocol):
    """Transactions over budgets, and reads of where things stand."""

    async def write(self, run: Callable[[BudgetTransaction], T]) -> T: ...

    async def views(self, now_us: int, budget_id: str, workflow_id: str) -> Sequence[BudgetView]:
        """By name; of this budget, and those that this workflow counts for, if stated."""
        ...


@dataclass(frozen=True, slots=True)
class Edit:
    """Who changes something, why, and under which request."""

    actor: str
    reason: str = ""
    request_id: str = ""


class Wanted(NamedTuple):
    """Which budget is to be changed, as who saw it, and how: what tells one change from another."""

    budget_id: str
    etag: str
    mask: Sequence[str]
    content: str


class _Act(NamedTuple):
    """One act on one budget, as the audit log and a repeat of the request know it."""

    verb: str
    target_id: str
    edit: Edit
    digest: str
    at_us: int

    @property
    def author(self) -> Author:
        """Who does it, and when."""
        return Author(self.edit.actor, self.at_us, self.edit.reason)


_Doing = Callable[[BudgetTransaction], "Entry | PilothouseError | None"]
"""The record of what was done, what stands against it, or None when there was nothing to do."""


class Budgets:
    """The acts. All raise Unavailable when the database does not answer."""

    def __init__(self, store: BudgetStore, clock: Clock, new_id: Callable[[], str]) -> None:
        self._store = store
        self._clock = clock
        self._new_id = new_id

    async def every(self, workflow_id: str) -> Sequence[BudgetView]:
        """All, or those that a workflow counts for."""
        return await self._store.views(self._clock.now_us(), "", workflow_id)

    async def get(self, budget_id: str) -> BudgetView:
        """Raises NotFound."""
        views = await self._store.views(self._clock.now_us(), budget_id, "")
        if not views:
            raise NotFound("budget", budget_id)
        return views[0]

    async def create(self, wanted: Budget, edit: Edit) -> BudgetView:
        """A new budget, its id made up. Raises InvalidArgument, AlreadyThere, LimitExceeded, RequestIdReused."""
        validate(wanted)
        now_us = self._clock.now_us()
        made = replace(
            wanted,
            id=self._new_id(),
            version=1,
            create_us=now_us,
            update_us=now_us,
            updated_by=edit.actor,
        )
        digest = digest_of("create", wanted.name, to_document(wanted), edit.reason, edit.actor)
        act = _Act("budget.create", made.id, edit, digest, now_us)
        return await self.get(await self._done(act, lambda t: _create(t, act, made)))

    async def update(
        self,
        wanted: Wanted,
        change: Callable[[Budget], Budget],
        edit: Edit,
    ) -> BudgetView:
        """The budget as `change` makes it of what is there. What changes nothing makes no new version. Raises NotFound,
        InvalidArgument, AlreadyThere, EtagMismatch, RequestIdReused."""
        digest = digest_of("update", *wanted, edit.reason, edit.actor)
        act = _Act("budget.update", wanted.budget_id, edit, digest, self._clock.now_us())
        return await self.get(await self._done(act, lambda t: _update(t, act, wanted.etag, change)))

    async def delete(self, budget_id: str, edit: Edit) -> None:
        """What it paused stays paused. Raises NotFound, RequestIdReused."""
        digest = digest_of("delete", budget_id, edit.reason, edit.actor)
        act = _Act("budget.delete", budget_id, edit, digest, self._clock.now_us())
        await self._done(act, lambda transaction: _delete(transaction, act))

    async def _done(self, act: _Act, doing: _Doing) -> str:
        """The id of the budget. What is refused was recorded, and is raised after that."""
        answer = await self._store.write(lambda transaction: _perform(transaction, act, doing))
        if isinstance(answer, PilothouseError):
            raise answer
        return answer


def _perform(transaction: BudgetTransaction, act: _Act, doing: _Doing) -> str | PilothouseError:
    """Does it once, with its record; a repeat is answered as before."""
    request_id = act.edit.request_id
    before = repeated(transaction, request_id, act.digest)
    if isinstance(before, Done):
        return str(before.answer["id"])
    entry = before or doing(transaction)
    if isinstance(entry, PilothouseError):
        refused = done(act.author, act.verb, act.target_id)
        said = EventError(entry.reason, entry.message)
        refused = replace(refused, outcome=Outcome.REFUSED, error=said, request_id=request_id)
        transaction.record([refused])
        return entry
    if entry is not None:
        transaction.record([replace(entry, request_id=request_id)])
    if request_id:
        transaction.note_done(request_id, Done(act.digest, {"id": act.target_id}), act.at_us)
    return act.target_id


def _create(transaction: BudgetTransaction, act: _Act, made: Budget) -> Entry | PilothouseError:
    there = transaction.every()
    if taken := _taken(there, made):
        return taken
    if len(there) >= MOST_BUDGETS:
        return LimitExceeded("budgets", MOST_BUDGETS, len(there) + 1)
    transaction.put(made)
    return done(act.author, act.verb, made.id, after=told(made))


def _update(
    transaction: BudgetTransaction, act: _Act, etag: str, change: Callable[[Budget], Budget]
) -> Entry | PilothouseError | None:
    there = transaction.every()
    found = next((each for each in there if each.id == act.target_id), None)
    if found is None:
        return NotFound("budget", act.target_id)
    if etag not in ("", found.etag):
        return EtagMismatch("budget", found.id, found.etag)
    try:
        wanted = change(found)
        validate(wanted)
    except PilothouseError as error:
        return error
    if taken := _taken(there, wanted):
        return taken
    if same(found, wanted):
        return None
    now = replace(wanted, version=found.version + 1, update_us=act.at_us, updated_by=act.edit.actor)
    transaction.put(now)
    was, is_now = differing(found, now)
    return done(act.author, act.verb, found.id, before=was, after=is_now)


def _delete(transaction: BudgetTransaction, act: _Act) -> Entry | PilothouseError:
    found = next((each for each in transaction.every() if each.id == act.target_id), None)
    if found is None:
        return NotFound("budget", act.target_id)
    transaction.remove(found.id)
    return done(act.author, act.verb, found.id, before=told(found))


def _taken(there: Sequence[Budget], wanted: Budget) -> AlreadyThere | None:
    if any(each.name == wanted.name and each.id != wanted.id for each in there):
        return AlreadyThere("budget", "name", wanted.name)
    return None
