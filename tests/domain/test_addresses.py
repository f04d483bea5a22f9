"""What may be shown of an address: never a password, whatever the address looks like."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse_server.domain.addresses import scrubbed, shown


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("", ""),
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        ("redis://:pw@cache:6379/0", "redis://:***@cache:6379/0"),
        ("rediss://ann:pw@cache", "rediss://ann:***@cache"),
        ("redis://pw@cache", "redis://***@cache"),
        ("redis://cache?password=pw&db=1", "redis://cache?password=***&db=1"),
        ("postgresql://ann:pw@db:5432/ops?sslmode=require", "postgresql://ann:***@db:5432/ops?sslmode=require"),
        ("postgresql://ann@db/ops", "postgresql://ann@db/ops"),
        ("postgresql+psycopg://ann:p@w:/x?y@db/ops", "postgresql+psycopg://ann:***@db/ops"),
        ("host=db user=ann password='p w' dbname=ops", "host=db user=ann password=*** dbname=ops"),
        ("ann:pw@db", "ann:***@db"),
    ],
)  # fmt: skip
def test_an_address_is_shown_without_its_password(url: str, expected: str) -> None:
    assert shown(url) == expected


@given(
    st.sampled_from(["redis", "rediss", "postgresql", "postgresql+psycopg", "postgres", "http"]),
    st.text(string.printable, min_size=1).map(lambda text: f"<{text}>"),
)
def test_no_password_gets_through_however_it_is_written(scheme: str, password: str) -> None:
    url = f"{scheme}://ann:{password}@db:1/ops"
    assert password not in shown(url)
    assert password not in scrubbed(f'connection to "{url}" failed: no user for {password}!', url)


def test_what_a_driver_says_is_scrubbed_of_the_password_in_both_its_forms() -> None:
    url = "postgresql://ann:s%40fe@db/ops"
    assert scrubbed("bad s@fe, bad s%40fe", url) == "bad ***, bad ***"
    assert scrubbed("bad pw", "redis://pw@cache") == "bad ***"
    assert scrubbed("bad p w", "host=db password='p w'") == "bad ***"
    assert scrubbed("no secrets here", "redis://cache") == "no secrets here"
