"""When a silence holds."""

from __future__ import annotations

from datetime import datetime
from itertools import islice
from zoneinfo import ZoneInfo

import pytest

from pilothouse_server.domain.alerts.matchers import Matcher, MatchType
from pilothouse_server.domain.alerts.silences import (
    Draft,
    Recurrence,
    Silence,
    SilenceState,
    active_at,
    check_draft,
    spans,
    standing,
)
from pilothouse_server.domain.errors import InvalidArgument

SECOND = 1_000_000
MINUTE, HOUR = 60 * SECOND, 3600 * SECOND
DAY = 24 * HOUR
CODER = Matcher("agent_type", MatchType.EQUAL, "coder")
NOW = 1_800_000_000 * SECOND


def us(text: str, zone: str = "UTC") -> int:
    """A time as a clock in the zone shows it."""
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()) * SECOND


def shown(at_us: int, zone: str = "UTC") -> str:
    return f"{datetime.fromtimestamp(at_us // SECOND, ZoneInfo(zone)):%m-%d %H:%M}"


def once(start_us: int = NOW, end_us: int | None = NOW + HOUR) -> Silence:
    return Silence("s", (CODER,), start_us, end_us, "why", "ada", NOW, NOW)


def recurring(
    cron: str,
    hours: float,
    zone: str = "",
    start_us: int = 0,
    end_us: int | None = None,
    expire_us: int | None = None,
) -> Silence:
    recurrence = Recurrence(cron, zone, round(hours * HOUR))
    return Silence(
        "s", (CODER,), start_us, end_us, "", "", 0, 0, recurrence, expire_us=expire_us
    )  # fmt: skip


@pytest.mark.parametrize(
    ("at_us", "state", "until_us"),
    [
        (NOW - 1, SilenceState.PENDING, NOW),
        (NOW, SilenceState.ACTIVE, NOW + HOUR),
        (NOW + HOUR - 1, SilenceState.ACTIVE, NOW + HOUR),
        (NOW + HOUR, SilenceState.EXPIRED, None),
    ],
)
def test_a_silence_holds_from_its_start_to_before_its_end(
    at_us: int, state: SilenceState, until_us: int | None
) -> None:
    assert standing(once(), at_us)[:2] == (state, until_us)


def test_one_that_lasts_until_alerts_are_resolved_is_about_those_only() -> None:
    silence = Silence(
        "s", (CODER,), NOW, None, "", "", NOW, NOW, until_resolved=True, bound=frozenset({"a"})
    )
    assert standing(silence, NOW + 400 * DAY) == (SilenceState.ACTIVE, None, None)
    assert silence.matches("a", {})
    assert not silence.matches("b", {"agent_type": "coder"})


def test_a_recurring_silence_holds_after_each_moment_of_its_cron() -> None:
    silence = recurring("0 22 * * 1-5", 2)
    friday, saturday = us("2026-03-06T22:00"), us("2026-03-07T22:30")
    assert not active_at(silence, friday - 1)
    assert active_at(silence, friday)
    assert active_at(silence, friday + 2 * HOUR - 1)
    stands = standing(silence, friday + 2 * HOUR)
    assert stands.state == SilenceState.PENDING
    assert shown(stands.next_start_us or 0) == "03-09 22:00"
    assert not active_at(silence, saturday)
    assert [shown(each.start_us) for each in islice(spans(silence, saturday), 3)] == [
        "03-09 22:00",
        "03-10 22:00",
        "03-11 22:00",
    ]


def test_it_holds_between_its_start_and_its_end_only() -> None:
    start, end = us("2026-03-03T22:30"), us("2026-03-05T23:00")
    silence = recurring("0 22 * * *", 2, start_us=start, end_us=end)
    found = [(shown(a), shown(b or 0)) for a, b in spans(silence, start - DAY)]
    assert found == [
        ("03-03 22:30", "03-04 00:00"),
        ("03-04 22:00", "03-05 00:00"),
        ("03-05 22:00", "03-05 23:00"),
    ]
    assert standing(silence, end).state == SilenceState.EXPIRED
    last = us("2026-03-05T12:00")
    ended = recurring("0 22 * * *", 2, start_us=start, expire_us=last)
    assert standing(ended, last).state == SilenceState.EXPIRED


def test_one_that_has_no_time_left_before_its_end_is_over() -> None:
    silence = recurring("0 22 * * *", 1, end_us=us("2026-03-05T20:00"))
    assert standing(silence, us("2026-03-04T23:00")).state == SilenceState.EXPIRED


def test_times_that_follow_without_a_break_are_one() -> None:
    silence = recurring("0 8,9,10 * * *", 1.5)
    (first, second) = islice(spans(silence, us("2026-03-05T07:00")), 2)
    assert (shown(first.start_us), shown(first.end_us or 0)) == ("03-05 08:00", "03-05 11:30")
    assert shown(second.start_us) == "03-06 08:00"


@pytest.mark.parametrize("cron", ["* * * * *", "*/2 * * * *"])
def test_one_that_never_pauses_holds_at_each_time(cron: str) -> None:
    silence = recurring(cron, 7 * 24)
    for minutes in range(0, 3000, 7):
        stands = standing(silence, NOW + minutes * MINUTE + 30 * SECOND)
        assert stands.state == SilenceState.ACTIVE
        assert stands.until_us is not None


@pytest.mark.parametrize(
    ("zone", "cron", "day", "starts"),
    [
        # Berlin leaves out 02:00 to 03:00 on the 29th: what should begin then begins when the clock has passed it.
        ("Europe/Berlin", "30 2 * * *", "2026-03-28T12:00", ["03-29 03:00", "03-30 02:30"]),
        # It has 02:00 to 03:00 twice on the 25th of October: what begins then begins once.
        ("Europe/Berlin", "30 2 * * *", "2026-10-24T12:00", ["10-25 02:30", "10-26 02:30"]),
        ("America/New_York", "30 1 * * *", "2026-10-31T12:00", ["11-01 01:30", "11-02 01:30"]),
        ("Europe/Berlin", "0 22 * * *", "2026-03-28T12:00", ["03-28 22:00", "03-29 22:00"]),
        ("Asia/Kolkata", "0 22 * * *", "2026-03-28T12:00", ["03-28 22:00", "03-29 22:00"]),
    ],
)
def test_the_clock_of_the_time_zone_counts(
    zone: str, cron: str, day: str, starts: list[str]
) -> None:
    found = islice(spans(recurring(cron, 1, zone), us(day, zone)), 2)
    assert [shown(each.start_us, zone) for each in found] == starts


def test_a_duration_is_time_and_not_what_the_clock_shows() -> None:
    zone = "Europe/Berlin"
    silence = recurring("0 1 * * *", 3, zone)
    (night,) = islice(spans(silence, us("2026-03-29T00:30", zone)), 1)
    assert (shown(night.start_us, zone), shown(night.end_us or 0, zone)) == (
        "03-29 01:00",
        "03-29 05:00",
    )


def draft(**fields: object) -> Draft:
    given: dict[str, object] = {"matchers": (CODER,), "comment": "why", "end_us": NOW + HOUR}
    return Draft(**(given | fields))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"matchers": ()}, "silence.matchers", "at least one"),
        ({"matchers": (Matcher("a", MatchType.REGEX, ".*"),)}, "silence.matchers", "at least one"),
        ({"matchers": (Matcher("a", MatchType.EQUAL, ""),)}, "silence.matchers", "at least one"),
        (
            {"matchers": (CODER, Matcher("a", MatchType.REGEX, "("))},
            "silence.matchers[1]",
            "no regular",
        ),
        ({"end_us": None}, "silence.end_time", "until when"),
        ({"end_us": NOW}, "silence.end_time", "after"),
        ({"start_us": NOW + DAY}, "silence.end_time", "after the start"),
        ({"start_us": NOW - DAY, "end_us": NOW - HOUR}, "silence.end_time", "after now"),
        ({"until_resolved": True, "start_us": NOW + DAY, "end_us": None}, "silence.start_time", "now"),
        (
            {"until_resolved": True, "recurrence": Recurrence("0 1 * * *", "", HOUR)},
            "silence.until_resolved",
            "recurrence",
        ),
        ({"recurrence": Recurrence("0 25 * * *", "", HOUR)}, "silence.recurrence.cron", "bad hour"),
        ({"recurrence": Recurrence("0 0 1 * * *", "", HOUR)}, "silence.recurrence.cron", "five"),
        ({"recurrence": Recurrence("daily", "", HOUR)}, "silence.recurrence.cron", "five fields"),
        (
            {"recurrence": Recurrence("0 1 * * *", "Europe/Bonn", HOUR)},
            "silence.recurrence.time_zone",
            "'Europe/Bonn' is no time zone",
        ),
        (
            {"recurrence": Recurrence("0 1 * * *", "../../etc/passwd", HOUR)},
            "silence.recurrence.time_zone",
            "no time zone",
        ),
        ({"recurrence": Recurrence("0 0 31 2 *", "", HOUR)}, "silence.recurrence.cron", "bad day"),
        (
            {"recurrence": Recurrence("0 0 29 2 *", "", MINUTE)},
            "silence.recurrence.cron",
            "never comes",
        ),
    ],
)  # fmt: skip
def test_what_can_be_no_silence_is_refused_in_words(
    fields: dict[str, object], field: str, words: str
) -> None:
    with pytest.raises(InvalidArgument, match=words) as refused:
        check_draft(draft(**fields), NOW)
    assert refused.value.field == field


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"end_us": None, "until_resolved": True},
        {"end_us": None, "recurrence": Recurrence("0 22 * * MON-FRI", "Europe/Berlin", HOUR)},
        {"matchers": (CODER, Matcher("a", MatchType.NOT_EQUAL, "x"))},
        {"matchers": (Matcher("a", MatchType.REGEX, ".+"),)},
    ],
)
def test_what_can_be_a_silence_is_taken(fields: dict[str, object]) -> None:
    check_draft(draft(**fields), NOW)
