"""A server with the services of events, workflows and agents on a log and a database of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from prometheus_client import CollectorRegistry

from pilothouse.v1 import (
    agents_pb2,
    agents_pb2_grpc,
    events_pb2,
    workflows_pb2,
    workflows_pb2_grpc,
)
from pilothouse_server.adapters.clock import SystemClock
from pilothouse_server.adapters.intake import SingleIntake
from pilothouse_server.adapters.sql.agent_views import SqlAgentViews
from pilothouse_server.adapters.sql.closing_store import SqlClosing
from pilothouse_server.adapters.sql.command_store import SqlCommands
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.event_tail_rows import SqlEventTail
from pilothouse_server.adapters.sql.event_views import SqlEventViews
from pilothouse_server.adapters.sql.projection_store import SqlProjectionStore
from pilothouse_server.adapters.sql.workflow_views import SqlWorkflowViews
from pilothouse_server.adapters.sqlite_log import SqliteLog
from pilothouse_server.domain.events import Event
from pilothouse_server.ports import LogEntry
from pilothouse_server.services.closing import Closer
from pilothouse_server.services.control import Control, ControlSignals
from pilothouse_server.services.event_tail import EventTail
from pilothouse_server.services.fanout import Changes
from pilothouse_server.services.ids import uuid7
from pilothouse_server.services.ingest import Ingest
from pilothouse_server.services.project import Projector
from pilothouse_server.transport.agents import AgentServicer
from pilothouse_server.transport.event_watch import EventWatch
from pilothouse_server.transport.events import EventServicer
from pilothouse_server.transport.interceptor import CallMeters
from pilothouse_server.transport.server import RpcServer, Service
from pilothouse_server.transport.watching import Watching
from pilothouse_server.transport.workflows import WorkflowServicer
from pilothouse_server.wire.events import decode_stored, encode_events, encode_stored
from tests.databases import Place, open_database
from tests.projection.build import NOON


class SetClock(SystemClock):
    """A wall that tests move; sleeping takes real time."""

    us = NOON

    def now_us(self) -> int:
        return self.us


@dataclass
class Station:
    """Log and database with what reads and writes them; `report` stands for log and projector."""

    log: SqliteLog
    database: Database
    clock: SetClock
    changes: Changes

    def __post_init__(self) -> None:
        self.store = SqlProjectionStore(self.database, decode_stored)
        self.workflows = SqlWorkflowViews(self.database, self.clock)
        self.agents = SqlAgentViews(self.database, self.clock)
        self.events = SqlEventViews(self.database, self.clock)
        source = SqlEventTail(self.database)
        self.tail = EventTail(source, self.events, self.changes, self.clock, encode_stored)

    async def report(self, *events: Event) -> None:
        """Folds the events in."""
        await self.store.apply([LogEntry("c", encode_events(events))])
        self.changes.notify()

    def services(self) -> Sequence[Service]:
        """The services as the server has them."""
        watching = Watching(self.changes, self.clock)
        control = Control(SqlCommands(self.database), self.clock, ControlSignals(), uuid7)
        closer = Closer(SqlClosing(self.database), self.clock, ControlSignals(), uuid7)
        ingest = Ingest(SingleIntake(self.log), self.clock)
        events = EventServicer(ingest, self.events, EventWatch(self.tail, watching))
        workflows = WorkflowServicer(self.workflows, watching, control, closer)
        agents = AgentServicer(self.agents, watching, control)
        return [
            Service(
                events_pb2.DESCRIPTOR.services_by_name["EventService"],
                events.add_to,
            ),
            Service(
                workflows_pb2.DESCRIPTOR.services_by_name["WorkflowService"],
                lambda server: workflows_pb2_grpc.add_WorkflowServiceServicer_to_server(
                    workflows, server
                ),
            ),
            Service(
                agents_pb2.DESCRIPTOR.services_by_name["AgentService"],
                lambda server: agents_pb2_grpc.add_AgentServiceServicer_to_server(agents, server),
            ),
        ]


@pytest.fixture
async def station(tmp_path: Path, place: Place) -> AsyncIterator[Station]:
    """Empty, at noon."""
    station = Station(SqliteLog(tmp_path / "log.db"), open_database(place), SetClock(), Changes())
    yield station
    await station.database.close()
    await station.log.close()


@pytest.fixture
async def channel(station: Station) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to a server on the station, whose projector runs."""
    projector = Projector(station.log, station.store, station.clock, station.changes)
    running = asyncio.gather(projector.run(), station.tail.run())
    server = RpcServer(station.services(), CallMeters(CollectorRegistry()))
    port = await server.start("127.0.0.1", 0)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    await server.drain(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
