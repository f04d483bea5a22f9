"""A filter as a clause of SQL. Values are always bound; what `domain.filters.matches` says, the clause says."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from operator import eq, ge, gt, le, lt, ne
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Text,
    TypeDecorator,
    and_,
    false,
    func,
    literal,
    not_,
    or_,
    true,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from pilothouse_server.domain.filters import (
    And,
    Compare,
    Contains,
    Filter,
    Not,
    OneOf,
    Or,
    Stated,
    Words,
    ascii_lower,
)

Columns = Mapping[str, ColumnElement[Any]]
"""For each field of the schema, what it is in the database."""


class Prose(TypeDecorator[str]):
    """A text as people write it, in which words are looked for as `domain.filters.words_of` finds them."""

    impl = Text
    cache_ok = True


class begins_word(FunctionElement[bool]):  # noqa: N801 - a function of SQL
    """Whether a word of the text begins with these letters."""

    type = Boolean()
    inherit_cache = True


@compiles(begins_word, "sqlite")
def _by_glob(element: begins_word, compiler: SQLCompiler, **kw: Any) -> str:
    prose, word = (compiler.process(each, **kw) for each in element.clauses)
    before = "'*[^0-9a-z' || char(128) || '-' || char(1114111) || ']'"
    return f"((' ' || lower({prose})) GLOB ({before} || {word} || '*'))"


@compiles(begins_word, "postgresql")
def _by_expression(element: begins_word, compiler: SQLCompiler, **kw: Any) -> str:
    prose, word = (compiler.process(each, **kw) for each in element.clauses)
    return rf"((' ' || lower({prose})) ~ ('[^0-9a-z\u0080-\U0010ffff]' || {word}))"


_OPERATORS = {"=": eq, "!=": ne, "<": lt, "<=": le, ">": gt, ">=": ge}


def clause_of(tree: Filter, columns: Columns) -> ColumnElement[bool]:
    """The clause that is true for the rows that fulfil the filter, and false, never NULL, for the rest."""
    match tree:
        case Compare(field=name, op=op, value=value):
            return _compared(columns[name], op, value)
        case Contains(fields=fields, text=text):
            lowered = ascii_lower(text)
            return or_(
                false(),
                *(func.lower(columns[name]).contains(lowered, autoescape=True) for name in fields),
            )
        case Words(field=name, words=words):
            return and_(true(), *(_begins(columns[name], word) for word in words))
        case OneOf(field=name, values=values):
            return columns[name].in_(sorted(values))
        case Stated(field=name):
            column = columns[name]
            stated = column.is_not(None)
            return and_(stated, column != "") if isinstance(column.type, Text) else stated
        case Not(term=term):
            return not_(clause_of(term, columns))
        case And(terms=terms):
            return and_(true(), *(clause_of(term, columns) for term in terms))
        case Or(terms=terms):
            return or_(false(), *(clause_of(term, columns) for term in terms))


def stated_hints(
    tree: Filter, columns: Columns, names: Collection[str]
) -> list[ColumnElement[bool]]:
    """What is true anyway, said so that the database sees that a partial index has all the rows: `names` are the fields
    that have an index of the rows where they are stated."""
    terms = tree.terms if isinstance(tree, And) else (tree,)
    return [
        columns[term.field] != ""
        for term in terms
        if isinstance(term, Compare) and term.field in names and term.op == "=" and term.value
    ]


def _begins(column: ColumnElement[Any], word: str) -> ColumnElement[bool]:
    if isinstance(column.type, Prose):
        return begins_word(column, literal(word, Text))
    # These are nothing but words already, with spaces between them.
    return (literal(" ") + column).contains(f" {word}", autoescape=True)


def _compared(column: ColumnElement[Any], op: str, value: str | int) -> ColumnElement[bool]:
    compared: ColumnElement[bool]
    if isinstance(value, str):
        compared = _OPERATORS[op](column, value)
        return compared
    # A filter may name a number that the column cannot hold.
    compared = _OPERATORS[op](column, literal(value, BigInteger))
    if not getattr(column, "nullable", True):
        return compared
    # A comparison with NULL is NULL, and so would be its negation.
    missing = column.is_(None)
    return or_(missing, compared) if op == "!=" else and_(not_(missing), compared)
