"""`pilothouse events …` against a real server, as a person types it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from pilothouse_server.adapters.intake import SingleIntake
from pilothouse_server.adapters.sqlite_log import SqliteLog
from pilothouse_server.domain.events import EventType
from pilothouse_server.services.ingest import Ingest
from pilothouse_server.transport.event_watch import EventWatch
from pilothouse_server.transport.events import SERVICE, EventServicer
from pilothouse_server.transport.interceptor import CallMeters
from pilothouse_server.transport.server import RpcServer, Service
from pilothouse_server.transport.watching import Watching
from tests.client.cli import Done, type_command
from tests.events_live.conftest import Feed, running
from tests.projection.build import event

E = EventType


@pytest.fixture
def kind() -> str:
    """One kind of database is enough for what is typed."""
    return "sqlite"


@pytest.fixture
async def address(feed: Feed, tmp_path: Path) -> AsyncIterator[str]:
    """Of a server on the feed."""
    log = SqliteLog(tmp_path / "log.db")
    async with running(feed.tail()) as tail:
        watching = EventWatch(tail, Watching(feed.changes, feed.clock))
        servicer = EventServicer(Ingest(SingleIntake(log), feed.clock), feed.views, watching)
        server = RpcServer([Service(SERVICE, servicer.add_to)], CallMeters(CollectorRegistry()))
        yield f"127.0.0.1:{await server.start('127.0.0.1', 0)}"
        await server.drain(0)
    await log.close()


async def typed(address: str, *arguments: str) -> Done:
    return await asyncio.to_thread(type_command, "--server", address, "events", *arguments)


def files(folder: Path) -> list[str]:
    """Those that an export made."""
    return [each.name for each in folder.iterdir() if "events" in each.name]


async def some(feed: Feed) -> None:
    await feed.report(
        event(E.LOG, id="first", message="all is \x1b[31mwell"),
        event(E.TASK_FAILED, id="second", workflow_id="w2", task_id="t", severity=4, message="disk, full"),
    )  # fmt: skip


async def test_an_export_is_whole_in_a_pipe_and_in_a_file(
    feed: Feed, address: str, tmp_path: Path
) -> None:
    await some(feed)
    done = await typed(address, "export")
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert (done.code, [each["id"] for each in lines]) == (0, ["first", "second"])
    file = tmp_path / "events.csv"
    done = await typed(
        address, "export", "--format", "csv", "--filter", "id = second", "--to", str(file)
    )
    assert (done.code, done.out, done.err) == (0, "", f"1 events in {file}\n")
    heading, row, end = file.read_bytes().split(b"\r\n")
    assert (heading[:10], end) == (b"occur_time", b"")
    assert b'"disk, full"' in row
    assert files(tmp_path) == ["events.csv"]


async def test_what_cannot_be_written_leaves_no_file(
    feed: Feed, address: str, tmp_path: Path
) -> None:
    file = tmp_path / "nowhere" / "events.csv"
    done = await typed(address, "export", "--to", str(file))
    assert done.code == 1
    assert "No such file" in done.err
    file = tmp_path / "events.csv"
    done = await typed(address, "export", "--filter", "severity >=", "--to", str(file))
    assert done.code != 0
    assert "severity >=" in done.err
    assert files(tmp_path) == []


async def test_events_are_listed_counted_and_shown(feed: Feed, address: str) -> None:
    await some(feed)
    listed = (await typed(address, "list")).out
    assert "\x1b" not in listed
    assert "TASK_FAILED" in listed
    assert "disk, full" in listed
    assert "TASK_FAILED" in (await typed(address, "count")).out
    assert "disk, full" in (await typed(address, "get", "second")).out
    missing = await typed(address, "get", "third")
    assert missing.code != 0
    assert "third" in missing.err


async def test_a_watch_ends_after_as_many_as_were_asked_for(feed: Feed, address: str) -> None:
    await some(feed)
    done = await typed(address, "watch", "--backlog", "10", "--limit", "2", "-o", "json")
    assert [json.loads(line)["id"] for line in done.out.splitlines()] == ["first", "second"]
