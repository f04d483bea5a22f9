"""No URL that may hold a password is put into words as it is: `domain.addresses` shows it, or nobody does."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

SERVER = Path(__file__).resolve().parents[2] / "server" / "pilothouse_server"
MAY_HOLD_A_PASSWORD = frozenset({"url", "_url", "redis_url", "database_url"})
NOT_OF_A_SERVER = frozenset({"bridge", "demo"})
"""Guests: they know addresses of HTTP and gRPC, which have no passwords."""


def _named(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(attr=name):
            return name
        case _:
            return ""


def _spoken(tree: ast.AST) -> Iterator[ast.expr]:
    """What goes into text: the fields of f-strings, and the arguments of a logger."""
    for node in ast.walk(tree):
        match node:
            case ast.FormattedValue(value=value):
                yield value
            case ast.Call(func=ast.Attribute(value=ast.Name(id="_log" | "log" | "logger"))):
                yield from (*node.args, *(keyword.value for keyword in node.keywords))
            case _:
                pass


def test_addresses_are_shown_without_their_passwords() -> None:
    found = [
        f"{path.relative_to(SERVER)}:{value.lineno} {ast.unparse(value)}"
        for path in SERVER.rglob("*.py")
        if path.relative_to(SERVER).parts[0] not in NOT_OF_A_SERVER
        for value in _spoken(ast.parse(path.read_text("utf-8")))
        if _named(value) in MAY_HOLD_A_PASSWORD
    ]
    assert found == []
