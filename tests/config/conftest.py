"""The configuration of a platform on a real database of each kind, and its audit log."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from pilothouse_server.adapters.clock import SystemClock
from pilothouse_server.adapters.sql.audit_views import SqlAudit
from pilothouse_server.adapters.sql.config_store import SqlConfig
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.domain.audit import Entry
from pilothouse_server.domain.platform import PlatformConfig
from pilothouse_server.services.audit import Audit, Noted
from pilothouse_server.services.configuration import Configuration, Edit
from pilothouse_server.services.fanout import Changes

SECOND = 1_000_000
HOUR = 3600 * SECOND
DEFAULTS = PlatformConfig(agent_offline_after_us=20 * SECOND)
"""What the environment of these replicas says."""
ADA = Edit("ada", "because")


@dataclass
class Panel:
    """A database, and replicas that have it."""

    database: Database
    rung: Changes = field(default_factory=Changes)
    """What rings in all replicas."""

    def __post_init__(self) -> None:
        self.audit = Audit(SqlAudit(self.database, SystemClock()), SystemClock())
        self.one = self.replica()

    def replica(self, defaults: PlatformConfig = DEFAULTS) -> Configuration:
        return Configuration(SqlConfig(self.database), SystemClock(), self.rung, defaults)

    async def records(self) -> list[Entry]:
        """The audit log, which is whole."""
        *_, last = [each async for each in self.audit.verify(0, Noted())]
        assert not last.verdict.problem
        return [entry async for part in self.audit.export("") for entry in part]


@pytest.fixture
def panel(database: Database) -> Panel:
    return Panel(database)
