"""The configuration of the platform: read by everybody from memory, changed by one transaction on any replica.

A change is judged, stored as a new version and recorded in the audit log in one transaction, so of two at once the
second sees the first. Each replica then takes up the newest version when it is rung, and looks now and then without.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple, Protocol, TypeVar

from pilothouse_server.domain.audit import Entry, Outcome
from pilothouse_server.domain.errors import (
    EtagMismatch,
    NotFound,
    PilothouseError,
    RequestIdReused,
    Unavailable,
)
from pilothouse_server.domain.events import EventError
from pilothouse_server.domain.platform import (
    Change,
    ConfigVersion,
    Overrides,
    PlatformConfig,
    check,
    differences,
    effective,
    updated,
)
from pilothouse_server.ports import Clock
from pilothouse_server.services.fanout import Changes

T = TypeVar("T")

LOOK: Final = 5.0
"""Seconds after which a replica looks for a new version without being rung."""
RETRY: Final = 1.0
"""Seconds after which it looks again when the database did not answer."""
QUIET: Final = 3600.0
"""Seconds that a watch waits at once for a change."""

Configured = Callable[[], PlatformConfig]
"""What is in force, whenever it is asked."""

NOTHING: Final = ConfigVersion()
"""What is set while nothing was."""


class Repeated(NamedTuple):
    """The version that an earlier request made, and what that request was."""

    version: ConfigVersion
    digest: str


class ConfigTransaction(Protocol):
    """What is read and changed, within one transaction."""

    def newest(self) -> ConfigVersion:
        """What is set; version 0 while nothing was."""
        ...

    def version(self, number: int) -> ConfigVersion | None: ...

    def requested(self, request_id: str) -> Repeated | None:
        """What an earlier request with this id made."""
        ...

    def add(self, version: ConfigVersion, request_id: str, digest: str) -> None:
        """Stores the next version, and forgets the oldest when there are too many."""
        ...

    def record(self, entries: Sequence[Entry]) -> None:
        """Puts records into the audit log."""
        ...


class VersionPage(NamedTuple):
    """Versions, newest first, and the token of the next page."""

    versions: Sequence[ConfigVersion]
    next_token: str


class ConfigStore(Protocol):
    """Where versions are kept. Everything raises Unavailable."""

    async def write(self, run: Callable[[ConfigTransaction], T]) -> T: ...

    async def read(self, run: Callable[[ConfigTransaction], T]) -> T: ...

    async def page(self, size: int, token: str) -> VersionPage:
        """One page. Raises InvalidPageToken."""
        ...


@dataclass(frozen=True, slots=True)
class Edit:
    """Who changes the configuration, and why. An empty `etag` is not checked."""

    actor: str
    reason: str = ""
    request_id: str = ""
    etag: str = ""
    validate_only: bool = False


class Changed(NamedTuple):
    """What is set after a change, and what it changed."""

    current: ConfigVersion
    changes: Sequence[Change]


class _Wish(NamedTuple):
    """A change, before it is judged."""

    verb: str
    digest: str
    make: Callable[[ConfigTransaction, ConfigVersion], Overrides | PilothouseError]


class Configuration:
    """`start` it before the first reader; `current` is what is in force; `run` follows what other replicas change."""

    def __init__(
        self, store: ConfigStore, clock: Clock, changes: Changes, defaults: PlatformConfig
    ) -> None:
        self.defaults = defaults
        self.version = NOTHING
        """What is set, as this replica knows it."""
        self.applied = Changes()
        """Notified when another configuration came into force here."""
        self._store = store
        self._clock = clock
        self._changes = changes
        self._current = defaults

    def current(self) -> PlatformConfig:
        """What is in force now."""
        return self._current

    async def start(self) -> None:
        """Takes up what is set. Raises Unavailable."""
        self._apply(await self._store.read(lambda tx: tx.newest()))

    async def run(self) -> None:
        """Takes up every change until it is cancelled."""
        while True:
            seen = self._changes.version
            try:
                await self.start()
            except Unavailable:
                await self._clock.sleep(RETRY)
            else:
                await self._changes.wait(seen, LOOK)

    async def update(self, values: Overrides, paths: Sequence[str], edit: Edit) -> Changed:
        """Sets these paths to their values; those without one are not set any more. Where that changes nothing it
        makes no version. Raises InvalidArgument, EtagMismatch, RequestIdReused."""
        check(values)
        asked = {path: values.get(path) for path in paths}

        def make(_: ConfigTransaction, before: ConfigVersion) -> Overrides:
            return updated(before.overrides, values, paths)

        wish = _Wish("config.update", _digest(edit, "update", asked), make)
        return await self._change(wish, edit)

    async def restore(self, number: int, edit: Edit) -> Changed:
        """Makes it what it was in a version, as a new one; 0 is nothing set. Raises NotFound, EtagMismatch,
        RequestIdReused."""

        def make(tx: ConfigTransaction, _: ConfigVersion) -> Overrides | PilothouseError:
            wanted = NOTHING if not number else tx.version(number)
            return _unknown(number) if wanted is None else wanted.overrides

        return await self._change(
            _Wish("config.restore", _digest(edit, "restore", number), make), edit
        )

    async def versions(self, size: int, token: str) -> VersionPage:
        """The versions, newest first. Raises InvalidPageToken."""
        return await self._store.page(size, token)

    async def diff(self, one: int, other: int) -> Sequence[Change]:
        """What differs from one version, where 0 is nothing set, to another, where 0 is the newest. Raises NotFound."""

        def run(tx: ConfigTransaction) -> Sequence[Change]:
            before = tx.version(one) if one else NOTHING
            after = tx.version(other) if other else tx.newest()
            if before is None or after is None:
                raise _unknown(one if before is None else other)
            return differences(before.overrides, after.overrides)

        return await self._store.read(run)

    async def watch(self) -> AsyncGenerator[tuple[ConfigVersion, PlatformConfig]]:
        """What is set and what is in force: at once, then whenever it changes."""
        while True:
            seen = self.applied.version
            yield self.version, self._current
            while not await self.applied.wait(seen, QUIET):
                pass

    async def _change(self, wish: _Wish, edit: Edit) -> Changed:
        if edit.validate_only:
            judged = await self._store.read(lambda tx: _judged(tx, wish, edit))
            if isinstance(judged, PilothouseError):
                raise judged
            return judged
        now_us = self._clock.now_us()
        done = await self._store.write(lambda tx: _changed(tx, wish, edit, now_us))
        if isinstance(done, PilothouseError):
            raise done
        if self._apply(done.current):
            self._changes.notify()
        return done

    def _apply(self, version: ConfigVersion) -> bool:
        """Whether it is news: what was read before another was stored may come after it."""
        if version.version <= self.version.version:
            return False
        self.version = version
        self._current = effective(self.defaults, version.overrides)
        self.applied.notify()
        return True


def _changed(
    tx: ConfigTransaction, wish: _Wish, edit: Edit, now_us: int
) -> Changed | PilothouseError:
    """The change, stored and recorded, or its refusal, recorded."""
    if edit.request_id and (earlier := tx.requested(edit.request_id)):
        if earlier.digest == wish.digest:
            return _repeated(tx, earlier.version)
        reused = RequestIdReused(edit.request_id)
        tx.record([_refused(wish, edit, now_us, reused)])
        return reused
    before = tx.newest()
    judged = _judged(tx, wish, edit)
    if isinstance(judged, PilothouseError):
        tx.record([_refused(wish, edit, now_us, judged)])
        return judged
    if not judged.changes:
        return judged
    stored = ConfigVersion(
        before.version + 1, judged.current.overrides, edit.actor, edit.reason, now_us
    )
    tx.add(stored, edit.request_id, wish.digest)
    tx.record([_accepted(wish, edit, now_us, stored.version, judged.changes)])
    return Changed(stored, judged.changes)


def _judged(tx: ConfigTransaction, wish: _Wish, edit: Edit) -> Changed | PilothouseError:
    """What would be set."""
    before = tx.newest()
    if edit.etag and edit.etag != etag_of(before):
        return EtagMismatch(kind="config", id="platform", etag=etag_of(before))
    after = wish.make(tx, before)
    if isinstance(after, PilothouseError):
        return after
    changes = differences(before.overrides, after)
    if not changes:
        return Changed(before, changes)
    wanted = ConfigVersion(before.version, after, before.actor, before.reason, before.create_us)
    return Changed(wanted, changes)


def _repeated(tx: ConfigTransaction, made: ConfigVersion) -> Changed:
    """What the earlier request changed, and what is set by now."""
    earlier = tx.version(made.version - 1) or NOTHING
    return Changed(tx.newest(), differences(earlier.overrides, made.overrides))


def _refused(wish: _Wish, edit: Edit, now_us: int, error: PilothouseError) -> Entry:
    told = EventError(error.reason, error.message)
    return replace(_accepted(wish, edit, now_us), outcome=Outcome.REFUSED, error=told)


def _accepted(
    wish: _Wish, edit: Edit, now_us: int, version: int | None = None, changes: Sequence[Change] = ()
) -> Entry:
    """The record of a change, with the version that it made."""
    before = {} if version is None else {"version": str(version - 1)}
    after = {} if version is None else {"version": str(version)}
    return Entry(
        record_us=now_us,
        actor=edit.actor,
        verb=wish.verb,
        target_kind="config",
        target_id="platform",
        outcome=Outcome.ACCEPTED,
        reason=edit.reason,
        before=before | {each.field: each.before for each in changes},
        after=after | {each.field: each.after for each in changes},
        request_id=edit.request_id,
    )


def etag_of(version: ConfigVersion) -> str:
    """Changes with every version."""
    return str(version.version)


def _unknown(number: int) -> NotFound:
    return NotFound(kind="config_version", id=str(number))


def _digest(edit: Edit, *asked: object) -> str:
    """What tells one request from another."""
    written = json.dumps([*asked, edit.reason, edit.actor], sort_keys=True)
    return hashlib.sha256(written.encode()).hexdigest()[:16]
