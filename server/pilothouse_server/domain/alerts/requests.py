"""What people ask of alerts, and how it is judged; whichever replica they ask, the one that leads judges.

WAITING ──▶ TAKEN ──▶ APPLIED    the act and this answer were stored together
   │          ├─────▶ REFUSED    the act was not allowed
   └──────────┴─────▶ WITHDRAWN  nobody took it while somebody waited for the answer
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple, assert_never

from pilothouse_server.domain.alerts.records import (
    Act,
    Alert,
    AlertStep,
    Change,
    acknowledge,
    assign,
    comment,
    resolve,
    unacknowledge,
)
from pilothouse_server.domain.errors import (
    AlertResolved,
    EtagMismatch,
    NotFound,
    PilothouseError,
    RequestIdReused,
    Unavailable,
)


class Verb(IntEnum):
    """What is asked."""

    ACKNOWLEDGE = 1
    RESOLVE = 2
    UNACKNOWLEDGE = 3
    ASSIGN = 4
    COMMENT = 5


ACTS: Final = {
    Verb.ACKNOWLEDGE: Act.ACKNOWLEDGE,
    Verb.RESOLVE: Act.RESOLVE,
    Verb.UNACKNOWLEDGE: Act.UNACKNOWLEDGE,
    Verb.ASSIGN: Act.ASSIGN,
    Verb.COMMENT: Act.COMMENT,
}
"""The step that each of them is in the life of an alert."""


class RequestState(IntEnum):
    """Where a request stands."""

    WAITING = 1
    TAKEN = 2
    APPLIED = 3
    REFUSED = 4
    WITHDRAWN = 5


OPEN: Final = frozenset({RequestState.WAITING, RequestState.TAKEN})
"""The states in which it is not answered."""


@dataclass(frozen=True, slots=True)
class AlertRequest:
    """One act that somebody asks for. An empty `etag` is not checked."""

    verb: Verb
    alert_id: str
    actor: str
    comment: str
    etag: str = ""
    id: str = ""
    """Of its row; empty where it was asked of the lead itself."""
    request_us: int = 0
    request_id: str = ""
    """The caller's: a repeat with the same one changes nothing. Empty: every repeat is an act of its own."""
    assignee: str = ""
    expire_after_us: int | None = None
    """For how long it is acknowledged; None is until it is resolved."""


Refusal = Mapping[str, str]
"""An error as it is stored: its class, and its fields."""


class Answer(NamedTuple):
    """What became of a request; applied when there is no refusal."""

    request_id: str
    refusal: Refusal | None = None


def decide(asked: AlertRequest, alert: Alert, *, live: bool, now_us: int) -> Change | None:
    """What the act makes of the alert; None when it changes nothing, as a repeat. Raises AlertResolved,
    EtagMismatch."""
    change = _decided(asked, alert, live=live, now_us=now_us)
    if change is None or change.step is None or not asked.request_id:
        return change
    return change._replace(step=change.step._replace(request_id=asked.request_id))


def _decided(asked: AlertRequest, alert: Alert, *, live: bool, now_us: int) -> Change | None:
    if _is_done(asked, alert, live=live):
        return None
    _check_etag(alert, asked.etag)
    actor, said = asked.actor, asked.comment
    match asked.verb:
        case Verb.ACKNOWLEDGE:
            after_us = asked.expire_after_us
            expire_us = None if after_us is None else now_us + after_us
            return acknowledge(alert, actor, said, now_us, expire_us)
        case Verb.UNACKNOWLEDGE:
            return unacknowledge(alert, actor, said, now_us)
        case Verb.ASSIGN:
            return assign(alert, asked.assignee, actor, said, now_us)
        case Verb.COMMENT:
            return comment(alert, actor, said, now_us)
        case Verb.RESOLVE:
            return resolve(alert, actor, said, now_us)
        case _:
            assert_never(asked.verb)


def _is_done(asked: AlertRequest, alert: Alert, *, live: bool) -> bool:
    """Whether the alert is already as it would be. Raises AlertResolved for what only one that is not over can take;
    history is commented too: what it was is often known only when it is over."""
    match asked.verb:
        case Verb.COMMENT:
            return False
        case Verb.RESOLVE:
            return not live
        case _ if not live:
            raise AlertResolved(alert_id=alert.id)
        case Verb.ACKNOWLEDGE:
            return alert.acknowledge_us is not None
        case Verb.UNACKNOWLEDGE:
            return alert.acknowledge_us is None
        case Verb.ASSIGN:
            return alert.assignee == asked.assignee
        case _:
            assert_never(asked.verb)


def check_repeat(asked: AlertRequest, done: AlertStep) -> None:
    """Whether what was done under this request id is what is asked. Raises RequestIdReused when it is not."""
    if (done.alert_id, done.act) != (asked.alert_id, ACTS[asked.verb]):
        raise RequestIdReused(asked.request_id)


def _check_etag(alert: Alert, etag: str) -> None:
    if etag and etag != alert.etag:
        raise EtagMismatch(kind="alert", id=alert.id, etag=alert.etag)


REFUSALS: Final = (NotFound, AlertResolved, EtagMismatch, RequestIdReused)
"""What an act can be refused with for good."""
_BY_NAME: Final[dict[str, type[PilothouseError]]] = {each.__name__: each for each in REFUSALS}


TOO_NEW: Final[Refusal] = {
    "class": "Unavailable",
    "detail": "the replica that takes care of alerts is of an older version and cannot do this; nothing was done:"
    " try again when every replica is updated",
}
"""The answer to an act that this version does not know."""


def refusal_of(error: PilothouseError) -> Refusal:
    """One of REFUSALS as it is stored."""
    return {"class": type(error).__name__, **{k: str(v) for k, v in vars(error).items()}}


def error_of(refusal: Refusal) -> PilothouseError:
    """The error that was stored; a newer replica may refuse with what this one does not know."""
    fields = dict(refusal)
    name = fields.pop("class", "")
    if name == "Unavailable" and "detail" in fields:
        return Unavailable("alerts", fields["detail"])
    refused = _BY_NAME.get(name)
    try:
        if refused is not None:
            return refused(**fields)
    except TypeError:
        pass
    return Unavailable("alerts", f"refused: {dict(refusal)}")
