"""Escalations: made and changed. Which steps are due is for `notifications`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from pilothouse_server.domain.audit import Author
from pilothouse_server.domain.errors import EtagMismatch
from pilothouse_server.domain.notifications.channels import Escalation
from pilothouse_server.domain.notifications.documents import escalation_to_document
from pilothouse_server.domain.notifications.validation import check_escalation
from pilothouse_server.ports import Clock
from pilothouse_server.services.fanout import Changes
from pilothouse_server.services.naming import digest_of, id_of

TRIES: Final = 5
"""Of a change, while others change the same."""


class EscalationStore(Protocol):
    """Escalations in the database."""

    async def every(self) -> Sequence[Escalation]: ...
    async def find(self, escalation_id: str) -> Escalation: ...
    async def create(self, escalation: Escalation, request_id: str, digest: str) -> Escalation: ...
    async def replace(self, escalation: Escalation, seen: int) -> Escalation | None: ...
    async def delete(self, escalation_id: str, etag: str, author: Author) -> None: ...


@dataclass(frozen=True, slots=True)
class Escalations:
    """The verbs. `changes` is the channels' own: who follows one follows both."""

    store: EscalationStore
    clock: Clock
    changes: Changes

    async def every(self) -> Sequence[Escalation]:
        """All of them, by name."""
        return await self.store.every()

    async def get(self, escalation_id: str) -> Escalation:
        """One of them. Raises NotFound."""
        return await self.store.find(escalation_id)

    async def create(self, draft: Escalation, *, actor: str, request_id: str) -> Escalation:
        """A new one; a repeat of the request gets the same. Raises InvalidArgument, AlreadyThere, LimitExceeded,
        RequestIdReused."""
        check_escalation(draft)
        taken = {each.id for each in await self.store.every()} if not draft.id else ()
        now_us = self.clock.now_us()
        escalation = replace(
            draft,
            id=draft.id or id_of(draft.name, taken, "escalation"),
            version=1,
            create_us=now_us,
            update_us=now_us,
            updated_by=actor,
        )
        digest = digest_of(escalation.name, escalation_to_document(escalation))
        stored = await self.store.create(escalation, request_id, digest)
        self.changes.notify()
        return stored

    async def update(
        self,
        escalation_id: str,
        change: Callable[[Escalation], Escalation],
        *,
        etag: str,
        actor: str,
    ) -> Escalation:
        """Changes what `change` makes of the stored one. Raises NotFound, EtagMismatch, InvalidArgument,
        AlreadyThere."""
        for _ in range(TRIES):
            stored = await self.store.find(escalation_id)
            if etag and etag != str(stored.version):
                raise EtagMismatch("escalation", escalation_id, str(stored.version))
            draft = change(stored)
            check_escalation(draft)
            wanted = replace(
                draft,
                id=stored.id,
                version=stored.version + 1,
                create_us=stored.create_us,
                update_us=self.clock.now_us(),
                updated_by=actor,
            )
            changed = await self.store.replace(wanted, stored.version)
            if changed is not None:
                self.changes.notify()
                return changed
        current = await self.store.find(escalation_id)
        raise EtagMismatch("escalation", escalation_id, str(current.version))

    async def delete(self, escalation_id: str, *, etag: str, actor: str) -> None:
        """Raises NotFound, EtagMismatch, StillNamed."""
        await self.store.delete(escalation_id, etag, Author(actor, self.clock.now_us()))
        self.changes.notify()
