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

from pilothouse_server.domain.alerts.records import Alert, Change, acknowledge, resolve
from pilothouse_server.domain.errors import (
    AlertResolved,
    EtagMismatch,
    NotFound,
    PilothouseError,
    Unavailable,
)


class Verb(IntEnum):
    """What is asked."""

    ACKNOWLEDGE = 1
    RESOLVE = 2


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
    """One act that somebody asks for. An empty `etag` is not checked; the `id` is empty where it was asked of the lead
    itself."""

    verb: Verb
    alert_id: str
    actor: str
    comment: str
    etag: str = ""
    id: str = ""
    request_us: int = 0


Refusal = Mapping[str, str]
"""An error as it is stored: its class, and its fields."""


class Answer(NamedTuple):
    """What became of a request; applied when there is no refusal."""

    request_id: str
    refusal: Refusal | None = None


def decide(asked: AlertRequest, alert: Alert, *, live: bool, now_us: int) -> Change | None:
    """What the act makes of the alert; None when it changes nothing, as a repeat. Raises AlertResolved,
    EtagMismatch."""
    match asked.verb:
        case Verb.ACKNOWLEDGE:
            if not live:
                raise AlertResolved(alert_id=alert.id)
            if alert.acknowledge_us is not None:
                return None
            _check_etag(alert, asked.etag)
            return acknowledge(alert, asked.actor, asked.comment, now_us)
        case Verb.RESOLVE:
            if not live:
                return None
            _check_etag(alert, asked.etag)
            return resolve(alert, asked.actor, asked.comment, now_us)
        case _:
            assert_never(asked.verb)


def _check_etag(alert: Alert, etag: str) -> None:
    if etag and etag != alert.etag:
        raise EtagMismatch(kind="alert", id=alert.id, etag=alert.etag)


REFUSALS: Final = (NotFound, AlertResolved, EtagMismatch)
"""What an act can be refused with for good."""
_BY_NAME: Final[dict[str, type[PilothouseError]]] = {each.__name__: each for each in REFUSALS}


def refusal_of(error: PilothouseError) -> Refusal:
    """One of REFUSALS as it is stored."""
    return {"class": type(error).__name__, **{k: str(v) for k, v in vars(error).items()}}


def error_of(refusal: Refusal) -> PilothouseError:
    """The error that was stored; a newer replica may refuse with what this one does not know."""
    fields = dict(refusal)
    refused = _BY_NAME.get(fields.pop("class", ""))
    try:
        if refused is not None:
            return refused(**fields)
    except TypeError:
        pass
    return Unavailable("alerts", f"refused: {dict(refusal)}")
