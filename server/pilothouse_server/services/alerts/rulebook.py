"""Rules as people change them, on any replica. Each change is one transaction that judges it, stores it with a new
version, and counts it, so that whoever leads can tell that there is one.

Of two changes at once the second sees the first: a name is never given twice, and an etag that was read before is
refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Final, NamedTuple, Protocol, TypeVar

from pilothouse_server.domain.alerts import validation
from pilothouse_server.domain.alerts.documents import fingerprint, rule_to_document
from pilothouse_server.domain.alerts.rules import Rule
from pilothouse_server.domain.alerts.shipped import BUILT_IN
from pilothouse_server.domain.alerts.versions import FieldDifference, RuleVersion, differences
from pilothouse_server.domain.errors import (
    AlreadyThere,
    EtagMismatch,
    InvalidArgument,
    NotFound,
    RequestIdReused,
)
from pilothouse_server.ports import Clock
from pilothouse_server.services.fanout import Changes

T = TypeVar("T")

LONGEST_ID: Final = 64
_OWN_IDS: Final = frozenset(rule.id for rule in BUILT_IN)


class VersionPage(NamedTuple):
    """Versions, newest first, each with what differs from the one before; and the token of the next page."""

    versions: Sequence[tuple[RuleVersion, Sequence[FieldDifference]]]
    next_token: str


class RuleTransaction(Protocol):
    """What the rulebook reads and changes, within one transaction."""

    def every(self) -> Sequence[Rule]:
        """The rules, by name."""
        ...

    def get(self, rule_id: str) -> Rule | None: ...

    def version(self, rule_id: str, version: int) -> RuleVersion | None:
        """One version; 0 is the newest."""
        ...

    def requested(self, request_id: str) -> RuleVersion | None:
        """The version that was made by an earlier request with this id."""
        ...

    def channels(self) -> Collection[str]:
        """Ids of the channels that there are."""
        ...

    def escalations(self) -> Collection[str]:
        """Ids of the escalations that there are."""
        ...

    def put(self, rules: Sequence[Rule], reason: str, request_id: str = "") -> None:
        """Stores rules that are new or changed, each with its version."""
        ...

    def delete(self, rule: Rule, reason: str) -> None:
        """Removes the rule; its version says that it was deleted then, by whom and why."""
        ...


class RuleStore(Protocol):
    """Where rules are kept. Everything raises Unavailable."""

    async def change(self, run: Callable[[RuleTransaction], T]) -> T:
        """What `run` returns, once it is stored. It may run more than once."""
        ...

    async def look(self, run: Callable[[RuleTransaction], T]) -> T:
        """What `run` reads."""
        ...

    async def versions(self, rule_id: str, size: int, token: str) -> VersionPage:
        """One page. Raises InvalidPageToken."""
        ...


@dataclass(frozen=True, slots=True)
class Edit:
    """Who changes something, and why."""

    actor: str
    reason: str = ""
    validate_only: bool = False


class Updated(NamedTuple):
    """A rule after its change, and whether that begins its instances anew."""

    rule: Rule
    resets: bool


class Imported(NamedTuple):
    """What became of the rules of a document."""

    created: list[Rule]
    updated: list[Rule]
    unchanged: list[Rule]


class _OnlyCheckedError(Exception):
    """Ends a transaction of which nothing is to be kept."""


class Rulebook:
    """Everything that can be done to rules."""

    def __init__(self, store: RuleStore, clock: Clock, rules: Changes) -> None:
        self._store = store
        self._clock = clock
        self._rules = rules

    async def create(self, rule: Rule, edit: Edit, request_id: str = "") -> Rule:
        """A new rule; without an id it gets one made of its name. Raises AlreadyThere, InvalidArgument, LimitExceeded,
        RequestIdReused."""

        def run(tx: RuleTransaction) -> Rule:
            if request_id and (earlier := tx.requested(request_id)):
                return _repeated(tx, rule, earlier, request_id)
            ids = {each.id for each in tx.every()}
            if rule.id in ids:
                raise AlreadyThere(kind="rule", field="id", value=rule.id)
            made = replace(rule, id=rule.id or _free_id(rule.name, ids))
            return self._put(tx, made, None, edit, request_id)

        return await self._change(run, edit)

    async def update(
        self, rule_id: str, changed: Callable[[Rule], Rule], etag: str, edit: Edit
    ) -> Updated:
        """What `changed` makes of a rule; where that is nothing else, it makes no version. `changed` may be called more
        than once. Raises NotFound, EtagMismatch, AlreadyThere, InvalidArgument, LimitExceeded."""

        def run(tx: RuleTransaction) -> Updated:
            before = _found(tx, rule_id, etag)
            after = changed(before)
            if _same(before, after):
                return Updated(before, resets=False)
            stored = self._put(tx, after, before, edit)
            return Updated(stored, fingerprint(before) != fingerprint(after))

        return await self._change(run, edit)

    async def enable(self, rule_id: str, enabled: bool, edit: Edit) -> Rule:
        """Evaluates it, or does not; a repeat changes nothing. Raises NotFound."""

        def run(tx: RuleTransaction) -> Rule:
            before = _found(tx, rule_id)
            if before.enabled == enabled:
                return before
            # Not judged anew: what was right once may be turned off, and on, whatever became of its channels.
            after = self._stamped(tx, replace(before, enabled=enabled), before, edit)
            tx.put([after], edit.reason)
            return after

        return await self._change(run, edit)

    async def delete(self, rule_id: str, etag: str, edit: Edit) -> None:
        """It is no more; its versions stay. Raises NotFound, EtagMismatch."""

        def run(tx: RuleTransaction) -> None:
            before = _found(tx, rule_id, etag)
            tx.delete(self._stamped(tx, before, before, edit), edit.reason)

        await self._change(run, edit)

    async def restore(self, rule_id: str, version: int, etag: str, edit: Edit) -> Updated:
        """Makes it what it was in a version, as a new one; it may have been deleted. Raises NotFound, EtagMismatch,
        AlreadyThere, and InvalidArgument where what it names is not there any more."""

        def run(tx: RuleTransaction) -> Updated:
            newest, wanted = _version(tx, rule_id, 0), _version(tx, rule_id, version)
            before = tx.get(rule_id)
            if etag and etag != str(newest.version):
                raise EtagMismatch(kind="rule", id=rule_id, etag=str(newest.version))
            if before is not None and _same(before, wanted.rule):
                return Updated(before, resets=False)
            stored = self._put(tx, wanted.rule, before, edit)
            resets = before is not None and fingerprint(before) != fingerprint(stored)
            return Updated(stored, resets)

        return await self._change(run, edit)

    async def bring_in(self, rules: Sequence[Rule], edit: Edit) -> Imported:
        """All of the rules, or none: each becomes the one that has its id, or else its name, or is new; one that is as
        it was makes no version. Raises AlreadyThere, InvalidArgument, LimitExceeded."""
        return await self._change(lambda tx: self._bring_in(tx, rules, edit), edit)

    async def version(self, rule_id: str, version: int) -> RuleVersion:
        """One version. Raises NotFound."""
        return await self._store.look(lambda tx: _version(tx, rule_id, version))

    async def versions(self, rule_id: str, size: int, token: str) -> VersionPage:
        """The versions, newest first; of a deleted rule too. Raises NotFound, InvalidPageToken."""
        page = await self._store.versions(rule_id, size, token)
        if not page.versions and not token:
            raise NotFound(kind="rule", id=rule_id)
        return page

    async def diff(self, rule_id: str, before: int, after: int) -> Sequence[FieldDifference]:
        """What differs from one version to another. Raises NotFound."""

        def run(tx: RuleTransaction) -> Sequence[FieldDifference]:
            one, other = _version(tx, rule_id, before), _version(tx, rule_id, after)
            return differences(*(None if each.deleted else each.rule for each in (one, other)))

        return await self._store.look(run)

    async def _change(self, run: Callable[[RuleTransaction], T], edit: Edit) -> T:
        found: list[T] = []

        def checked(tx: RuleTransaction) -> T:
            result = run(tx)
            if edit.validate_only:
                found.append(result)
                raise _OnlyCheckedError
            return result

        try:
            result = await self._store.change(checked)
        except _OnlyCheckedError:
            return found[-1]
        self._rules.notify()
        return result

    def _put(
        self, tx: RuleTransaction, rule: Rule, before: Rule | None, edit: Edit, request_id: str = ""
    ) -> Rule:
        """The rule, judged and stored with the next version."""
        every = tx.every()
        _check_free([rule], every)
        stored = self._stamped(tx, rule, before, edit)
        validation.check(stored, every, tx.channels(), tx.escalations())
        tx.put([stored], edit.reason, request_id)
        return stored

    def _stamped(self, tx: RuleTransaction, rule: Rule, before: Rule | None, edit: Edit) -> Rule:
        now_us = self._clock.now_us()
        if before is None:
            earlier = tx.version(rule.id, 0)
            version = 1 if earlier is None else earlier.version + 1
        else:
            version = before.version + 1
        return replace(
            rule,
            version=version,
            create_us=now_us if before is None else before.create_us,
            update_us=now_us,
            updated_by=edit.actor,
        )

    def _bring_in(self, tx: RuleTransaction, rules: Sequence[Rule], edit: Edit) -> Imported:
        every = {rule.id: rule for rule in tx.every()}
        after = dict(every)
        done = Imported([], [], [])
        changed: dict[str, str] = {}
        for rule, before in _matched(rules, every):
            if before is not None and _same(before, rule):
                done.unchanged.append(before)
                continue
            stored = self._stamped(tx, rule, before, edit)
            (done.created if before is None else done.updated).append(stored)
            after[rule.id] = stored
            changed[rule.id] = f'rules["{rule.id}"]'
        _check_free([after[rule_id] for rule_id in changed], [*after.values()])
        channels, escalations = tx.channels(), tx.escalations()
        for rule_id, at in changed.items():
            validation.check_alone(after[rule_id], channels, escalations, at)
        validation.check_together([*after.values()], changed)
        tx.put([*done.created, *done.updated], edit.reason)
        return done


def _matched(
    rules: Sequence[Rule], every: Mapping[str, Rule]
) -> Iterator[tuple[Rule, Rule | None]]:
    """Each rule with its id, and the one that it is to replace: that of its id, or else of its name."""
    by_name = {rule.name: rule for rule in every.values()}
    seen: dict[str, Rule] = {}
    taken = {*every, *(rule.id for rule in rules)}
    for rule in rules:
        before = every.get(rule.id) or by_name.get(rule.name)
        rule_id = before.id if before else rule.id or _free_id(rule.name, taken)
        taken.add(rule_id)
        if rule_id in seen:
            told = f"is there twice in the document, as {seen[rule_id].name!r} and as {rule.name!r}"
            raise InvalidArgument(f'rules["{rule_id}"]', told)
        seen[rule_id] = rule
        yield replace(rule, id=rule_id), before


def _check_free(rules: Sequence[Rule], every: Sequence[Rule]) -> None:
    """Raises AlreadyThere when a name is another rule's, or the server's own."""
    ids: dict[str, set[str]] = {}
    for rule in (*every, *BUILT_IN):
        ids.setdefault(rule.name, set()).add(rule.id)
    for rule in rules:
        if rule.id in _OWN_IDS:
            raise AlreadyThere(kind="rule", field="id", value=rule.id)
        if ids.get(rule.name, set()) - {rule.id}:
            raise AlreadyThere(kind="rule", field="name", value=rule.name)
        ids.setdefault(rule.name, set()).add(rule.id)


def _free_id(name: str, taken: Collection[str]) -> str:
    """An id made of a name: `Error rate (p95)` → `error-rate-p95`."""
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[: LONGEST_ID - 5] or "rule"
    names = (slug if number == 1 else f"{slug}-{number}" for number in count(1))
    return next(each for each in names if each not in taken and each not in _OWN_IDS)


def _found(tx: RuleTransaction, rule_id: str, etag: str = "") -> Rule:
    rule = tx.get(rule_id)
    if rule is None:
        raise NotFound(kind="rule", id=rule_id)
    if etag and etag != str(rule.version):
        raise EtagMismatch(kind="rule", id=rule_id, etag=str(rule.version))
    return rule


def _version(tx: RuleTransaction, rule_id: str, version: int) -> RuleVersion:
    found = tx.version(rule_id, version)
    if found is None:
        if version and tx.version(rule_id, 0) is not None:
            raise NotFound(kind="rule_version", id=f"{rule_id}/{version}")
        raise NotFound(kind="rule", id=rule_id)
    return found


def _repeated(tx: RuleTransaction, rule: Rule, earlier: RuleVersion, request_id: str) -> Rule:
    """The rule that an earlier request with this id made, as it is now."""
    made = earlier.rule
    if not _same(replace(rule, id=rule.id or made.id), made):
        raise RequestIdReused(request_id)
    return tx.get(made.id) or replace(made, create_us=earlier.create_us)


def _same(one: Rule, other: Rule) -> bool:
    """Whether they say the same; not when and by whom."""
    return rule_to_document(one) == rule_to_document(other)
