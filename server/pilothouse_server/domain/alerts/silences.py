"""A silence: alerts that match are shown, and nobody is notified of them while it holds.

It holds once, from its start to its end; or again and again, for a time after each moment of its cron; or until the
alerts that matched when it was made are all resolved. What a clock in its time zone does is what counts: a time that
the clock leaves out in spring begins when the clock has passed it, and one that comes twice in autumn begins once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from itertools import islice, takewhile
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from pilothouse_server.domain.alerts.matchers import Matcher, all_match, check
from pilothouse_server.domain.errors import InvalidArgument

MOST_OPEN: Final = 1_000
"""Silences that are not expired."""
MOST_RECURRING: Final = 100
"""Those of them that recur: when a yearly one holds next costs a tenth of a second to find out, at each start."""
MOST_BOUND: Final = 10_000
"""Alerts that one silence lasts for."""
SPANS_SHOWN: Final = 5
MOST_MERGED: Final = 1_000
"""Times that are looked at to find the end of those that follow without a break; after that it is looked again."""

LAST_US: Final = 253_402_300_799_000_000
"""The end of the year 9999."""
_SECOND_US: Final = 1_000_000
_HOUR_US: Final = 3_600 * _SECOND_US
_DAY_US: Final = 24 * _HOUR_US
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class SilenceState(IntEnum):
    """Where a silence stands. The numbers are those of the contract."""

    PENDING = 1
    ACTIVE = 2
    EXPIRED = 3


@dataclass(frozen=True, slots=True)
class Recurrence:
    """When a silence holds again and again."""

    cron: str
    """Five fields."""
    time_zone: str
    """Empty: UTC."""
    duration_us: int


@dataclass(frozen=True, slots=True)
class Draft:
    """What somebody asks for."""

    matchers: tuple[Matcher, ...]
    comment: str
    start_us: int | None = None
    """None: now."""
    end_us: int | None = None
    recurrence: Recurrence | None = None
    until_resolved: bool = False


@dataclass(frozen=True, slots=True)
class Silence:
    """A silence; what was asked for is never changed, but that it is ended."""

    id: str
    matchers: tuple[Matcher, ...]
    start_us: int
    end_us: int | None
    comment: str
    created_by: str
    create_us: int
    update_us: int
    recurrence: Recurrence | None = None
    until_resolved: bool = False
    bound: frozenset[str] = frozenset()
    """Ids of the alerts that matched when it was made, where it lasts until they are resolved."""
    expire_us: int | None = None
    """When it was ended before its time."""

    def matches(self, alert_id: str, labels: Mapping[str, str]) -> bool:
        """Whether it keeps such an alert quiet while it holds."""
        if self.until_resolved:
            return alert_id in self.bound
        return all_match(self.matchers, labels)


class Span(NamedTuple):
    """One time for which a silence holds; without an end where that is not known."""

    start_us: int
    end_us: int | None


class Standing(NamedTuple):
    """Where a silence stands, and until when it stands like that at least; None: for good."""

    state: SilenceState
    until_us: int | None
    next_start_us: int | None = None
    """When one that recurs, and does not hold, begins again."""


def standing(silence: Silence, ts_us: int) -> Standing:
    """Where the silence stands at a time."""
    over_us = _over_us(silence)
    if over_us is not None and ts_us >= over_us:
        return Standing(SilenceState.EXPIRED, None)
    span = next(spans(silence, ts_us), None)
    if span is None:
        return Standing(SilenceState.EXPIRED, None)
    if span.start_us <= ts_us:
        return Standing(SilenceState.ACTIVE, span.end_us)
    recurs = silence.recurrence is not None
    return Standing(SilenceState.PENDING, span.start_us, span.start_us if recurs else None)


def active_at(silence: Silence, ts_us: int) -> bool:
    """Whether it holds at a time."""
    return standing(silence, ts_us).state == SilenceState.ACTIVE


def spans(silence: Silence, ts_us: int) -> Iterator[Span]:
    """The times for which it holds, from the one that is now or comes next; what overlaps is one."""
    over_us = _over_us(silence)
    if silence.recurrence is None:
        if over_us is None or ts_us < over_us:
            yield Span(silence.start_us, over_us)
        return
    for start_us, end_us in _merged(silence, silence.recurrence, ts_us):
        begin_us = max(start_us, silence.start_us)
        if over_us is not None and begin_us >= over_us:
            return
        cut_us = end_us if over_us is None else min(end_us, over_us)
        if cut_us > max(begin_us, ts_us):
            yield Span(begin_us, cut_us)


def _over_us(silence: Silence) -> int | None:
    ends = [us for us in (silence.end_us, silence.expire_us) if us is not None]
    return min(ends, default=None)


def _merged(silence: Silence, recurrence: Recurrence, ts_us: int) -> Iterator[tuple[int, int]]:
    """Each start with its end, from the one that holds at that time on; those that follow without a break as one."""
    duration_us = recurrence.duration_us
    from_us = max(silence.start_us, ts_us)
    last_us = _last_start(recurrence, from_us)
    begin_us = end_us = None
    for number, start_us in enumerate(_starts(recurrence, last_us or from_us)):
        if end_us is not None and begin_us is not None:
            if start_us <= end_us and number % MOST_MERGED:
                end_us = start_us + duration_us
                continue
            yield begin_us, end_us
        begin_us, end_us = start_us, start_us + duration_us
    if begin_us is not None and end_us is not None:
        yield begin_us, end_us


def _last_start(recurrence: Recurrence, ts_us: int) -> int | None:
    """The newest start whose time is not over; of one that begins often, the newest are enough to look at."""
    for back_us in (_HOUR_US, _DAY_US, recurrence.duration_us):
        from_us = ts_us - min(back_us, recurrence.duration_us)
        starts = takewhile(lambda us: us <= ts_us, _starts(recurrence, max(from_us + 1, 0)))
        last = deque(starts, maxlen=1)
        if last:
            return last[0]
    return None


def _starts(recurrence: Recurrence, from_us: int) -> Iterator[int]:
    """The moments of the cron from that time on, that time too."""
    zone = _zone(recurrence.time_zone)
    if not 0 <= from_us < LAST_US:
        return
    # What it yields is later than what it is given, in whole seconds.
    before = (_EPOCH + timedelta(microseconds=from_us - 1)).astimezone(zone)
    last = None
    try:
        for moment in CronSim(recurrence.cron, before):
            us = (moment.astimezone(UTC) - _EPOCH) // timedelta(microseconds=1)
            if us >= from_us and us != last:
                last = us
                yield us
    except OverflowError:
        return


def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name or "UTC")


def first_spans(silence: Silence, ts_us: int) -> list[Span]:
    """The first few times for which it will hold."""
    return list(islice(spans(silence, ts_us), SPANS_SHOWN))


def check_draft(draft: Draft, now_us: int) -> None:
    """Raises InvalidArgument when there can be no such silence."""
    for at, matcher in enumerate(draft.matchers):
        check(matcher, f"silence.matchers[{at}]")
    if not any(not matcher.matches({}) for matcher in draft.matchers):
        raise InvalidArgument(
            "silence.matchers",
            "at least one has to be about a label that is there: these match every alert there could be",
        )
    start_us = now_us if draft.start_us is None else draft.start_us
    if draft.end_us is None and not draft.until_resolved and draft.recurrence is None:
        raise InvalidArgument(
            "silence.end_time", "say until when, or that it is to last `until_resolved`"
        )
    if draft.end_us is not None and draft.end_us <= max(start_us, now_us):
        after = "the start" if start_us >= now_us else "now"
        raise InvalidArgument("silence.end_time", f"has to be after {after}")
    if draft.until_resolved:
        _check_until_resolved(draft, now_us)
    if draft.recurrence is not None:
        _check_recurrence(draft, draft.recurrence, start_us)


def _check_until_resolved(draft: Draft, now_us: int) -> None:
    if draft.recurrence is not None:
        raise InvalidArgument(
            "silence.until_resolved",
            "does not go with a recurrence: which alerts would it be about?",
        )
    if draft.start_us is not None and draft.start_us > now_us + _SECOND_US:
        raise InvalidArgument(
            "silence.start_time", "`until_resolved` is about the alerts of now, so it begins now"
        )


def _check_recurrence(draft: Draft, recurrence: Recurrence, start_us: int) -> None:
    if len(recurrence.cron.split()) != 5:
        raise InvalidArgument(
            "silence.recurrence.cron",
            "has five fields: minute, hour, day of the month, month, day of the week, as `0 22 * * 1-5`",
        )
    try:
        _zone(recurrence.time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidArgument(
            "silence.recurrence.time_zone",
            f"{recurrence.time_zone!r} is no time zone, as `Europe/Berlin`; empty is UTC",
        ) from None
    try:
        CronSim(recurrence.cron, _EPOCH)
    except CronSimError as error:
        raise InvalidArgument(
            "silence.recurrence.cron", f"{recurrence.cron!r} is no cron: {str(error).lower()}"
        ) from None
    asked = Silence("", (), start_us, draft.end_us, "", "", 0, 0, recurrence)
    if next(spans(asked, start_us), None) is None:
        raise InvalidArgument(
            "silence.recurrence.cron", "never comes between the silence's start and its end"
        )
