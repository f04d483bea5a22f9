"""Who did what, to what, why, and what came of it: a chain in which each record carries the hash of the one before.

The bytes that are hashed are those of `canonical`, so that anybody can check a chain without this program.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from pilothouse_server.domain.events import EventError
from pilothouse_server.domain.texts import sound

FIRST_HASH: Final = "0" * 64
"""What the first record says of the one before it."""


class Outcome(IntEnum):
    """What came of an act. The numbers are those of the contract."""

    ACCEPTED = 1
    REFUSED = 2
    EFFECTIVE = 3
    FAILED = 4
    EXPIRED = 5


@dataclass(frozen=True, slots=True)
class Entry:
    """One record. The last three fields are given when it is put into the chain."""

    record_us: int
    actor: str
    verb: str
    """As `workflow.pause`, `agent.drain`, `batch.start`, `emergency_stop.release`, `config.update`."""
    target_kind: str
    """One of workflow, agent, queue, engine, batch, emergency_stop, config, budget, rule, silence, channel,
    escalation, heartbeat."""
    target_id: str
    outcome: Outcome
    reason: str = ""
    before: Mapping[str, str] = field(default_factory=dict[str, str])
    after: Mapping[str, str] = field(default_factory=dict[str, str])
    error: EventError | None = None
    """Why it was refused or failed: the code is the reason of the error, as in the contract."""
    request_id: str = ""
    command_id: str = ""
    batch_id: str = ""
    stop_id: str = ""
    sequence: int = 0
    previous_hash: str = ""
    hash: str = ""


class Author(NamedTuple):
    """Who does something, and when."""

    actor: str
    at_us: int
    reason: str = ""


NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


def done(
    author: Author,
    verb: str,
    target_id: str,
    *,
    before: Mapping[str, str] = NOTHING,
    after: Mapping[str, str] = NOTHING,
) -> Entry:
    """The record of something that is done at once, as `rule.update`: the verb begins with the kind of its target."""
    return Entry(
        record_us=author.at_us,
        actor=author.actor,
        verb=verb,
        target_kind=verb.partition(".")[0],
        target_id=target_id,
        outcome=Outcome.ACCEPTED,
        reason=author.reason,
        before=before,
        after=after,
    )


def canonical(entry: Entry) -> bytes:
    """What is hashed: compact JSON in UTF-8, an array of the hash before and the record's fields in this order."""
    error = entry.error
    said = None if error is None else [error.code, error.message, error.retryable]
    content = [
        entry.previous_hash, entry.sequence, entry.record_us, entry.actor, entry.verb, entry.target_kind,
        entry.target_id, entry.reason, sorted(entry.before.items()), sorted(entry.after.items()), int(entry.outcome),
        said, entry.request_id, entry.command_id, entry.batch_id, entry.stop_id,
    ]  # fmt: skip
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


def chained(entry: Entry, sequence: int, previous_hash: str) -> Entry:
    """The record at its place in the chain. What is hashed is, to the letter, what every database stores."""
    texts: dict[str, Any] = {name: sound(getattr(entry, name)) for name in _TEXTS}
    placed = replace(entry, **texts, sequence=sequence, previous_hash=previous_hash, hash="")
    return replace(placed, hash=hashlib.sha256(canonical(placed)).hexdigest())


_TEXTS: Final = (
    "actor", "verb", "target_kind", "target_id", "reason", "request_id", "command_id", "batch_id", "stop_id",
)  # fmt: skip


class Verdict(NamedTuple):
    """What is wrong with a chain, and where; the sequence is 0 while nothing is."""

    problem: str = ""
    sequence: int = 0


WHOLE = Verdict()


@dataclass(frozen=True, slots=True)
class Link:
    """The end of what was looked at: what the next record has to follow."""

    sequence: int = 0
    hash: str = FIRST_HASH


def follows(link: Link, entry: Entry) -> Verdict:
    """Whether the record is the one that has to come next, and says what it said when it was written."""
    at, expected = entry.sequence, link.sequence + 1
    if at > expected:
        missing = (
            f"record {expected} is" if at == expected + 1 else f"records {expected} to {at - 1} are"
        )
        return Verdict(f"{missing} missing", expected)
    if entry.hash != hashlib.sha256(canonical(entry)).hexdigest():
        return Verdict(f"record {at} is not what it was: its content does not have its hash", at)
    if entry.previous_hash != link.hash:
        told = f"record {at} does not follow record {link.sequence}: one of the two was put in the other's place"
        return Verdict(told, at)
    return WHOLE


def ends(link: Link, head: Link) -> Verdict:
    """Whether what was looked at ends where the head of the chain says that it ends."""
    if link.sequence < head.sequence:
        first = link.sequence + 1
        told = f"the chain has {head.sequence} records, and those from {first} on are missing"
        return Verdict(told, first)
    if link.hash != head.hash:
        told = f"record {link.sequence} is not the one that was written last: the head of the chain has another hash"
        return Verdict(told, link.sequence)
    return WHOLE
