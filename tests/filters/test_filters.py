"""The filter language: what it means, what it refuses, and that the database agrees with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import IntEnum

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Integer,
    MetaData,
    Table,
    create_engine,
    insert,
    select,
)
from sqlalchemy.event import listens_for

from pilothouse_server.adapters.sql.filters import clause_of
from pilothouse_server.adapters.sql.metadata import TEXT
from pilothouse_server.adapters.sql.postgres_server import judged
from pilothouse_server.adapters.sql.postgres_unit import Source
from pilothouse_server.domain.errors import InvalidFilter
from pilothouse_server.domain.filter_text import parse
from pilothouse_server.domain.filters import (
    EVERYTHING,
    And,
    Compare,
    Contains,
    Field,
    Filter,
    Kind,
    Not,
    OneOf,
    Or,
    Schema,
    Stated,
    Words,
    enum_field,
    matches,
    without,
)

HOUR_US = 3_600_000_000
NOW_US = 1_000 * HOUR_US


class State(IntEnum):
    QUEUED = 1
    RUNNING = 2
    FAILED = 6


SCHEMA = Schema(
    {
        "state": enum_field(State, "WORKFLOW_STATE_"),
        "type": Field(),
        "name": Field(),
        "attempt": Field(Kind.NUMBER),
        "start_time": Field(Kind.TIME),
    },
    searched=("type", "name"),
)


def parsed(text: str) -> Filter:
    return parse(text, SCHEMA, NOW_US)


RUNNING = Compare("state", "=", 2)
FEATURE = Compare("type", "=", "feature")


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("", EVERYTHING),
        ("   ", EVERYTHING),
        ("state = RUNNING", RUNNING),
        ("state=running", RUNNING),
        ("state = WORKFLOW_STATE_RUNNING", RUNNING),
        ('state = RUNNING AND type = "feature"', And((RUNNING, FEATURE))),
        ("state=RUNNING type=feature", And((RUNNING, FEATURE))),
        ("state=RUNNING OR type=feature", Or((RUNNING, FEATURE))),
        ("a AND b OR c", And((parsed("a"), Or((parsed("b"), parsed("c")))))),
        ("(a AND b) OR c", Or((And((parsed("a"), parsed("b"))), parsed("c")))),
        ("NOT state=RUNNING", Not(RUNNING)),
        ("-state=RUNNING", Not(RUNNING)),
        ("-(state=RUNNING)", Not(RUNNING)),
        ("state:u", OneOf("state", frozenset({1, 2}))),
        ("nightly", Contains(("type", "name"), "nightly")),
        ('"two words"', Contains(("type", "name"), "two words")),
        (r'name = "a \"quoted\" \\ one"', Compare("name", "=", 'a "quoted" \\ one')),
        ("name:50%_x", Contains(("name",), "50%_x")),
        ("name:*", Stated("name")),
        ('name:"*"', Contains(("name",), "*")),
        ("attempt >= 2", Compare("attempt", ">=", 2)),
        ("start_time > -1h", Compare("start_time", ">", NOW_US - HOUR_US)),
        ("start_time<1970-01-01T01:00:00Z", Compare("start_time", "<", HOUR_US)),
        ("start_time<1970-01-01T01:00:00", Compare("start_time", "<", HOUR_US)),
        ("start_time<1970-01-01T02:00:00+01:00", Compare("start_time", "<", HOUR_US)),
        ("start_time<1970-01-01T00:00:00.000001Z", Compare("start_time", "<", 1)),
    ],
)
def test_what_people_type_becomes_a_tree(text: str, tree: Filter) -> None:
    assert parsed(text) == tree


@pytest.mark.parametrize(
    ("text", "position", "expected"),
    [
        ("stat = RUNNING", 0, "one of the fields state, type, name, attempt, start_time"),
        ("state = WALKING", 8, "one of QUEUED, RUNNING, FAILED"),
        ("state > RUNNING", 6, "one of = != :"),
        ("attempt = two", 10, "a whole number"),
        ("attempt = 99999999999999999999", 10, "a whole number"),
        ("attempt:2", 7, "one of = != < <= > >="),
        ("start_time > yesterday", 13, "a time such as"),
        ("start_time > -1w", 13, "a time such as"),
        ("start_time > -999999999d", 13, "the years 1 to 9999"),
        ("state =", 7, "a value"),
        ('name = "open', 7, "a closing quotation mark"),
        ("(state=RUNNING", 14, "a closing parenthesis"),
        ("state=RUNNING)", 13, "nothing more here"),
        ("()", 1, "a condition"),
        ("state=RUNNING AND", 17, "a condition after AND"),
        ("OR state=RUNNING", 0, "a condition such as"),
        ("NOT", 3, "a condition after the negation"),
        ("= RUNNING", 0, "a condition such as"),
        ("(" * 40 + "a" + ")" * 40, 17, "at most 16 levels"),
        ("a " * 65, 128, "at most 64 conditions"),
        ('name = "a\0b"', 7, "a text without NUL"),
        ("a" * 3000, 2048, "at most 2048 bytes"),
    ],
)
def test_what_cannot_be_right_is_refused_where_it_stands(
    text: str, position: int, expected: str
) -> None:
    with pytest.raises(InvalidFilter) as refused:
        parsed(text)
    assert refused.value.position == position
    assert expected in refused.value.expected


def refusal_of(text: str) -> InvalidFilter | None:
    try:
        parsed(text)
    except InvalidFilter as refused:
        return refused
    return None


TOOK = Schema({"took": Field(Kind.DURATION)}, searched=())


@pytest.mark.parametrize(
    ("text", "us"),
    [
        ("90", 90_000_000),
        ("0.25", 250_000),
        ("250ms", 250_000),
        ("1.000001s", 1_000_001),
        ("7us", 7),
        ("1.5m", 90_000_000),
        ("2h", 7_200_000_000),
        ("1d", 86_400_000_000),
        ("999999999999999999", (1 << 63) - 1),
    ],
)
def test_lengths_of_time_have_units(text: str, us: int) -> None:
    assert parse(f"took > {text}", TOOK, NOW_US) == Compare("took", ">", us)


@pytest.mark.parametrize("text", ["-1s", "1w", "soon", "1e3", "1.5.0", "٣"])
def test_what_is_no_length_of_time_is_refused_with_examples(text: str) -> None:
    with pytest.raises(InvalidFilter, match=r"250ms, 1\.5s"):
        parse(f"took > {text}", TOOK, NOW_US)


@given(st.text(max_size=200))
def test_no_text_breaks_the_parser(text: str) -> None:
    refused = refusal_of(text)
    assert refused is None or 0 <= refused.position <= max(len(text), 2048)


PIECES = [
    "state", "name", "start_time", "=", "!=", ":", "<", "(", ")", "AND", "OR", "NOT", "-", "RUNNING", "-1h",
    '"', "*", " ",
]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=25).map("".join))
def test_no_mixture_of_its_own_words_breaks_the_parser(text: str) -> None:
    refused = refusal_of(text)
    assert refused is None or refused.expected


def test_terms_about_one_field_can_be_left_out() -> None:
    assert without(parsed("state=RUNNING type=feature"), "state") == And((FEATURE,))
    assert without(parsed("(state=RUNNING OR state=FAILED) type=feature"), "state") == And(
        (FEATURE,)
    )
    assert without(parsed("NOT state=RUNNING"), "state") == EVERYTHING
    assert without(parsed("a"), "state") == parsed("a")


ROWS = Table(
    "rows",
    MetaData(),
    Column("place", Integer, primary_key=True),
    Column("state", Integer, nullable=False),
    Column("type", TEXT, nullable=False),
    Column("name", TEXT, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("start_time", Integer),
)

texts = st.text(st.sampled_from("aAbB%_\\*ÄäßéΣ漢😀 '\""), max_size=4)
times = st.integers(0, 3)
rows = st.fixed_dictionaries(
    {
        "state": st.sampled_from([1, 2, 6]),
        "type": texts,
        "name": texts,
        "attempt": st.integers(1, 3),
        "start_time": st.none() | times,
    }
)
operators = st.sampled_from(["=", "!=", "<", "<=", ">", ">="])
leaves: st.SearchStrategy[Filter] = st.one_of(
    st.builds(Compare, st.sampled_from(["type", "name"]), operators, texts),
    st.builds(Compare, st.sampled_from(["attempt", "start_time"]), operators, times),
    st.builds(Contains, st.sampled_from([("type",), ("type", "name"), ()]), texts),
    st.builds(OneOf, st.just("state"), st.frozensets(st.sampled_from([1, 2, 6]))),
    st.builds(Stated, st.sampled_from(["name", "start_time"])),
)
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(And, st.lists(inner, max_size=3).map(tuple)),
        st.builds(Or, st.lists(inner, max_size=3).map(tuple)),
    ),
    max_leaves=8,
)


Rows = Sequence[dict[str, str | int | None]]


def selected(engine: Engine, found: Rows, tree: Filter) -> list[int]:
    """The places of the rows that the database finds; it keeps nothing of them."""
    with engine.connect() as connection:
        ROWS.create(connection)
        if found:
            connection.execute(insert(ROWS), [{"place": n, **row} for n, row in enumerate(found)])
        query = (
            select(ROWS.c.place).where(clause_of(tree, dict(ROWS.c.items()))).order_by(ROWS.c.place)
        )
        places = list(connection.execute(query).scalars())
        connection.rollback()
    return places


def matched(found: Rows, tree: Filter) -> list[int]:
    return [n for n, row in enumerate(found) if matches(tree, row.__getitem__)]


@given(st.lists(rows, max_size=12), trees)
def test_sqlite_means_what_the_language_means(found: Rows, tree: Filter) -> None:
    engine = create_engine("sqlite://")
    try:
        places = selected(engine, found, tree)
    finally:
        engine.dispose()
    assert places == matched(found, tree)


@pytest.fixture(scope="module")
def postgres_engine(postgres_url: str) -> Iterator[Engine]:
    engine = Source(judged(postgres_url)).pool({}, 1)

    @listens_for(engine, "begin")
    def begin(connection: Connection) -> None:  # pyright: ignore[reportUnusedFunction]
        connection.exec_driver_sql("BEGIN")

    yield engine
    engine.dispose()


@settings(max_examples=60)
@given(st.lists(rows, max_size=12), trees)
def test_postgresql_means_what_the_language_means(
    postgres_engine: Engine, found: Rows, tree: Filter
) -> None:
    assert selected(postgres_engine, found, tree) == matched(found, tree)


WORDED = Schema({"id": Field()}, searched=(), words="terms", labels="labels")


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("Queue", Words("terms", ("queue",))),
        ('"Queue: depth, EU-1"', Words("terms", ("queue", "depth", "eu", "1"))),
        ("Öl", Words("terms", ("Öl",))),
        ("labels.agent_id = a7", Compare("labels.agent_id", "=", "a7")),
        ('labels.agent_id != ""', Compare("labels.agent_id", "!=", "")),
        ("labels.agent_id:*", Stated("labels.agent_id")),
    ],
)
def test_words_and_labels_are_asked_for(text: str, tree: Filter) -> None:
    assert parse(text, WORDED, NOW_US) == tree


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("labels = a", "one of the fields id, labels.NAME"),
        ("labels. = a", "one of the fields"),
        ("labels.a-b = a", "one of the fields"),
        ("labels.a:b", "one of = !="),
        ("labels.a < b", "one of = !="),
        ('"- %"', "a word with a letter or a digit"),
    ],
)
def test_words_and_labels_that_cannot_be_are_refused(text: str, expected: str) -> None:
    with pytest.raises(InvalidFilter) as refused:
        parse(text, WORDED, NOW_US)
    assert expected in refused.value.expected


def test_a_word_is_found_where_one_begins_with_it() -> None:
    row = {"terms": "a7 depth queue"}
    assert matches(Words("terms", ("que", "a")), row.get)
    assert not matches(Words("terms", ("ueue",)), row.get)
    assert not matches(Words("terms", ("que", "b")), row.get)
