"""When a delivery is tried again, when it is given up, and when a channel is left alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse_server.domain.notifications.breaker import (
    FIRST_REST_US,
    LAST_REST_US,
    OPENS_AFTER,
    Breaker,
    Minute,
)
from pilothouse_server.domain.notifications.deliveries import (
    FIRST_PAUSE_US,
    GIVE_UP_US,
    LAST_PAUSE_US,
    LONGEST_RETRY_AFTER_US,
    MINUTE_US,
    MOST_ERROR,
    MOST_TRIES,
    DeliveryState,
    Standing,
    failed,
    taken,
)
from pilothouse_server.domain.notifications.receipts import DeliveryFailed
from tests.notifications.build import SECOND, T0

BUSY = DeliveryFailed("503", retryable=True, status_code=503)
WRONG = DeliveryFailed("400", retryable=False, status_code=400)


@given(st.integers(0, MOST_TRIES - 2), st.floats(0, 1))
def test_the_pause_is_random_and_its_bound_doubles_up_to_a_limit(
    attempts: int, jitter: float
) -> None:
    verdict = failed(Standing(T0, attempts), BUSY, T0, jitter)
    bound = min(LAST_PAUSE_US, FIRST_PAUSE_US * 2**attempts)
    assert verdict.state == DeliveryState.WAITING
    assert verdict.attempts == attempts + 1
    assert verdict.retry_us == T0 + round(jitter * bound)
    assert (verdict.error, verdict.status_code) == ("503", 503)


@pytest.mark.parametrize(
    ("standing", "failure", "now_us", "state"),
    [
        (Standing(T0, MOST_TRIES - 2), BUSY, T0, DeliveryState.WAITING),
        (Standing(T0, MOST_TRIES - 1), BUSY, T0, DeliveryState.DEAD),
        (Standing(T0, 3), BUSY, T0 + GIVE_UP_US - 1, DeliveryState.WAITING),
        (Standing(T0, 3), BUSY, T0 + GIVE_UP_US, DeliveryState.DEAD),
        (Standing(T0, 0), WRONG, T0, DeliveryState.DEAD),
    ],
)
def test_it_is_given_up_after_so_many_tries_so_long_or_when_it_cannot_go_well(
    standing: Standing, failure: DeliveryFailed, now_us: int, state: DeliveryState
) -> None:
    verdict = failed(standing, failure, now_us, 0.5)
    assert verdict.state == state
    assert (verdict.retry_us is None) == (state == DeliveryState.DEAD)


@pytest.mark.parametrize("wanted", [7 * SECOND, 100 * LONGEST_RETRY_AFTER_US])
def test_a_receiver_says_when_it_wants_to_be_asked_again_up_to_an_hour(wanted: int) -> None:
    failure = DeliveryFailed("429", retryable=True, retry_after_us=wanted)
    asked = T0 + min(wanted, LONGEST_RETRY_AFTER_US)
    assert failed(Standing(T0, 9), failure, T0, 1.0).retry_us == asked
    assert Breaker().failed(failure, T0, 1.0).open_until_us == asked


def test_of_a_long_error_the_beginning_is_kept() -> None:
    long = DeliveryFailed("x" * 5_000, retryable=True)
    assert len(failed(Standing(T0, 0), long, T0, 0.0).error) == MOST_ERROR
    assert len(Breaker().failed(long, T0, 0.0).error) == MOST_ERROR


def test_what_arrived_is_over() -> None:
    verdict = taken(Standing(T0, 2), 202, T0 + 5)
    assert (verdict.state, verdict.attempts, verdict.status_code) == (2, 3, 202)
    assert verdict.retry_us is None


def broken(times: int, failure: DeliveryFailed = BUSY) -> Breaker:
    """After so many failures in a row."""
    breaker = Breaker()
    for _ in range(times):
        breaker = breaker.failed(failure, T0, 1.0)
    return breaker


def test_the_breaker_opens_after_five_failures_in_a_row() -> None:
    assert broken(OPENS_AFTER - 1).room(T0, 1, 4) == 3
    opened = broken(OPENS_AFTER)
    assert opened.open_until_us == T0 + FIRST_REST_US
    assert opened.room(T0, 0, 4) == 0
    assert opened.room(T0 + FIRST_REST_US, 0, 4) == 1
    assert opened.room(T0 + FIRST_REST_US, 1, 4) == 0


def test_others_that_were_under_way_do_not_make_it_rest_longer() -> None:
    opened = broken(OPENS_AFTER)
    assert broken(OPENS_AFTER + 3).open_until_us == opened.open_until_us


def test_it_rests_longer_after_each_probe_that_fails() -> None:
    breaker, now_us, rests = broken(OPENS_AFTER), T0, list[int]()
    for _ in range(10):
        assert breaker.open_until_us is not None
        rests.append(breaker.open_until_us - now_us)
        now_us = breaker.open_until_us
        breaker = breaker.failed(BUSY, now_us, 1.0)
    assert rests[:4] == [FIRST_REST_US * 2**n for n in range(4)]
    assert rests[-1] == LAST_REST_US


def test_a_success_closes_it() -> None:
    closed = broken(OPENS_AFTER).succeeded(T0)
    assert closed == Breaker(success_us=T0)
    assert closed.room(T0, 0, 4) == 4


def test_a_receiver_that_refuses_single_notifications_is_not_left_alone() -> None:
    refused = broken(100, WRONG)
    assert (refused.failures, refused.open_until_us) == (100, None)


@given(st.lists(st.integers(0, 20 * SECOND), max_size=60), st.integers(1, 5))
def test_no_sixty_seconds_see_more_than_the_limit(steps: list[int], most: int) -> None:
    minute, now_us, sent = Minute(), T0, list[int]()
    for step in steps:
        now_us += step
        free_us = minute.free_us(now_us, most)
        assert free_us >= now_us
        if free_us == now_us:
            minute.note(now_us)
            sent.append(now_us)
    for at_us in sent:
        assert sum(at_us <= each < at_us + MINUTE_US for each in sent) <= most
