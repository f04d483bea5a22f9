"""What is said in the logs, and what is not."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from importlib import import_module

import pytest

from pilothouse_server import logs

GRPC = "grpc._cython.cygrpc"


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    root, grpc = logging.getLogger(), logging.getLogger(GRPC)
    handlers, level, filters = root.handlers[:], root.level, grpc.filters[:]
    yield
    root.handlers[:], grpc.filters[:] = handlers, filters
    root.setLevel(level)


def test_a_caller_that_is_gone_is_no_fault_and_everything_else_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure("info", "text")
    # The library's own class, which its types do not know.
    gone: type[Exception] = vars(import_module(GRPC))["ExecuteBatchError"]
    for error in (gone("nobody there"), ValueError("a fault")):
        logging.getLogger(GRPC).error("raised in servicer method", exc_info=error)

    said = capsys.readouterr().err
    assert "nobody there" not in said
    assert "a fault" in said
