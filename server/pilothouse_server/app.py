"""The processes that there are: what starts before what, and what ends after what.

Everything runs in one TaskGroup, so that a part that fails takes the process with it: a supervisor
starts it again, and it goes on from
its cursors. Ends in the other order: browsers are told, calls end, what is folded is stored, files
are closed.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from pilothouse_server.bridge.serve import serve_bridge
from pilothouse_server.bridge.settings import BridgeSettings
from pilothouse_server.config import Settings
from pilothouse_server.connectors.celery.connector import CeleryConnector
from pilothouse_server.connectors.celery.options import CeleryOptions
from pilothouse_server.core import Core
from pilothouse_server.demo.launch import ENGINE, run_demo_engine
from pilothouse_server.transport.probes import probes
from pilothouse_server.transport.server import PortTaken

PACKAGE = Path(__file__).parent
DASHBOARDS = (PACKAGE / "dashboard", PACKAGE.parent.parent / "web" / "dist")
"""Where the built dashboard is: in the wheel, or in a checkout."""

_log = structlog.get_logger(__name__)


SWITCH_INTERVAL = 0.001
"""Seconds that a thread may compute before another gets its turn; Python's own 5 ms are what an
answer would wait for the
projector, again and again."""

GC_THRESHOLDS = (20_000, 20, 50)
"""Collections, by what was allocated since the one before. Nothing here makes cycles in bulk, and
each full collection
stops everything for as long as it takes to look at every workflow in memory."""


async def up(settings: Settings) -> None:
    """Server and bridge in one process."""
    async with _stopping() as stop, _core(settings) as core:
        port = await core.serve(settings.host, settings.grpc_port)
        await _until_stopped(stop, settings, core, port)


async def serve(settings: Settings) -> None:
    """The server alone."""
    async with _stopping() as stop, _core(settings) as core:
        port = await core.serve(settings.host, settings.grpc_port)
        async with AsyncExitStack() as stack:
            beside = ""
            if settings.metrics_port is not None:
                asked = probes(settings.host, settings.metrics_port, core.standing, core.meters)
                probed = _address(settings.host, await stack.enter_async_context(asked))
                beside = f", /healthz, /readyz and /metrics on http://{probed}"
            _announce(
                settings, f"Pilothouse serves gRPC on {_address(settings.host, port)}{beside}"
            )
            await stop.wait()


async def bridge(settings: Settings) -> None:
    """The bridge alone."""
    async with _stopping() as stop:
        await _bridge(settings, settings.server, stop, f"bridge of {settings.server}")


async def demo(settings: Settings, *, beside: Sequence[str] = ()) -> None:
    """Server, bridge, and a small engine as a process of its own; with the modules of others beside it."""
    async with _stopping() as stop, _core(settings) as core:
        port = await core.serve(settings.host, settings.grpc_port)
        address = _address(_reachable(settings.host), port)
        folder = settings.data_dir / "demo"
        engines = [
            partial(run_demo_engine, address, folder, stop, module=module)
            for module in (ENGINE, *beside)
        ]
        await _until_stopped(stop, settings, core, port, *engines)


async def connect_celery(options: CeleryOptions) -> None:
    """A Celery app's connector, as a client of a server."""
    connector = CeleryConnector(options)
    async with _stopping() as stop, asyncio.TaskGroup() as tasks:
        ready = asyncio.Event()
        running = tasks.create_task(connector.run(stop, ready))
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait((running, waiting), return_when=asyncio.FIRST_COMPLETED)
        if ready.is_set():
            print(
                f"Celery at {connector.place} is connected to {options.server} as {options.source}",
                flush=True,
            )
        waiting.cancel()


async def _until_stopped(
    stop: asyncio.Event,
    settings: Settings,
    core: Core,
    grpc_port: int,
    *beside: Callable[[], Coroutine[Any, Any, None]],
) -> None:
    """Runs the bridge and, once it is there, what goes beside it, until the process is asked to end."""
    server = _address(_reachable(settings.host), grpc_port)
    said = f"gRPC {_address(settings.host, grpc_port)}, {core.place}"
    async with asyncio.TaskGroup() as tasks:

        def started() -> None:
            for each in beside:
                tasks.create_task(each())

        tasks.create_task(
            _bridge(settings, server, stop, said, core=core, then=started), name="bridge"
        )


async def _bridge(
    settings: Settings,
    server: str,
    stop: asyncio.Event,
    said: str,
    *,
    core: Core | None = None,
    then: Callable[[], None] = lambda: None,
) -> None:
    def started(port: int) -> None:
        page = f"http://{_address(settings.host, port)}"
        _announce(settings, f"Pilothouse is ready at {page} ({said})")
        then()

    try:
        await serve_bridge(
            _bridge_settings(settings, server),
            started=started,
            stop=stop,
            extra_metrics=core.meters if core else None,
        )
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(_address(settings.host, settings.http_port)) from error
        raise


def _bridge_settings(settings: Settings, server: str) -> BridgeSettings:
    built = (path for path in DASHBOARDS if (path / "index.html").exists())
    return BridgeSettings(
        server=server,
        host=settings.host,
        port=settings.http_port,
        static_dir=settings.dashboard_dir or next(built, None),
        allowed_origins=frozenset(settings.allowed_origins),
        metrics_interval=settings.live_interval,
        drain=min(2.0, settings.drain_grace),
    )


@asynccontextmanager
async def _core(settings: Settings) -> AsyncGenerator[Core]:
    """The server's parts, running; on leaving they end in order."""
    async with AsyncExitStack() as stack:
        core = await stack.enter_async_context(Core.opened(settings))
        _tune()
        # What keeps connections runs until what uses them has ended: a lease is given back through one.
        async with _running(core.connections()), _running(core.parts()):
            try:
                yield core
            finally:
                await core.drain(settings.drain_grace)


@asynccontextmanager
async def _running(parts: Mapping[str, Coroutine[Any, Any, None]]) -> AsyncGenerator[None]:
    """Runs them for as long as the block does; one that fails ends the block."""
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(part, name=name) for name, part in parts.items()]
        try:
            yield
        finally:
            for task in running:
                task.cancel()


@asynccontextmanager
async def _stopping() -> AsyncGenerator[asyncio.Event]:
    """An event that SIGTERM and Ctrl-C set. A second Ctrl-C ends the process at once."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def ask() -> None:
        if stop.is_set():
            loop.remove_signal_handler(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
        _log.info("ending")
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ask)
    try:
        yield stop
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def _tune() -> None:
    """Sets the interpreter up for one loop that has to answer while another thread computes."""
    sys.setswitchinterval(SWITCH_INTERVAL)
    gc.set_threshold(*GC_THRESHOLDS)
    gc.collect()
    gc.freeze()


def _announce(settings: Settings, line: str) -> None:
    """One line for people and programs that wait for it; and what listening on a public address
    means."""
    print(line, flush=True)
    if settings.exposed:
        print(
            f"Careful: {settings.host} can be reached by other machines, and nobody is "
            "authenticated.\nWhoever reaches these ports can read everything and steer every "
            "workflow. Put a proxy with TLS\nand authentication before them, or listen on 127.0.0.1.",
            file=sys.stderr,
            flush=True,
        )


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _reachable(host: str) -> str:
    """Where this machine reaches what listens on `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - read, not bound
