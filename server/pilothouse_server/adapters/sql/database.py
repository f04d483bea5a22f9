"""What stores need of a database: functions of a SQLAlchemy `Connection`, each run as one transaction, off the loop.

Two adapters keep this contract, `sqlite.py` and `postgres.py`, and one suite of tests holds both to it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from sqlalchemy import Connection

T = TypeVar("T")


class Database(Protocol):
    """A function must not keep the connection, and may run more than once before its transaction commits: what it does
    is to be done in the database only."""

    async def write(self, run: Callable[[Connection], T], *, beside: bool = False) -> T:
        """What `run` returns, once it is committed. What it raises is raised here, and then nothing of it is kept.

        Writes run one after another, those of every process, so that what one reads is true until it commits. A write
        `beside` others runs at the same time as others that said so: it locks itself what it reads and changes. Raises
        Unavailable when the database cannot take it now.
        """
        ...

    async def read(self, run: Callable[[Connection], T]) -> T:
        """What `run` returns; all that it reads is of one moment, and it cannot write. Raises Unavailable."""
        ...

    @property
    def waiting(self) -> int:
        """Writes that have not begun."""
        ...

    async def close(self) -> None:
        """Ends what is under way, then closes. Idempotent."""
        ...
