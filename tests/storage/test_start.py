"""What a start finds on the disk, and what it says when that does not fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from pilothouse_server.config import Settings
from pilothouse_server.core import Core
from pilothouse_server.domain.errors import Unavailable
from pilothouse_server.domain.events import EventType
from pilothouse_server.wire.events import encode_events
from tests.projection.build import event


def lose_the_log(folder: Path) -> None:
    for file in folder.glob("log.sqlite3*"):
        file.unlink()


async def test_a_log_that_the_database_was_not_made_from_is_refused_by_name(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    async with Core.opened(settings) as core:
        await core.log.append(encode_events([event(EventType.WORKFLOW_STARTED)]))
        assert await core.projector.step(5) == 1
    async with Core.opened(settings):
        pass
    lose_the_log(tmp_path)
    with pytest.raises(Unavailable, match=r"log\.sqlite3 is not the log .* set the database aside"):
        async with Core.opened(settings):
            pass
