"""The engine as a child: started again when it dies, and gone with its parent, however that ends."""

from __future__ import annotations

import asyncio
import signal
import sys
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psutil
import pytest

from pilothouse_server.demo.launch import run_demo_engine
from tests.demo.support import Seen, is_quick, kind_of, seed_where
from tests.support import wait_until

pytestmark = pytest.mark.timeout(180)

GOOD = seed_where(is_quick)
ONE = ("--pace", "6000", "--max-workflows", "1", "--seed", str(GOOD))

PARENT = """
import asyncio, sys
from pathlib import Path
from pilothouse_server.demo.launch import run_demo_engine
asyncio.run(run_demo_engine(sys.argv[1], Path(sys.argv[2]), asyncio.Event()))
"""


@asynccontextmanager
async def launched(seen: Seen, data_dir: Path, *options: str) -> AsyncGenerator[asyncio.Task[None]]:
    """An engine under our own process; stopped at the end."""
    stop = asyncio.Event()
    running = asyncio.create_task(run_demo_engine(seen.server.target, data_dir, stop, options))
    try:
        yield running
    finally:
        stop.set()
        await running


def engines(data_dir: Path) -> list[psutil.Process]:
    """The engines that work with this data."""
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            words = process.cmdline()
            if "pilothouse_server.demo" in words and str(data_dir) in words:
                found.append(process)
    # Until it becomes another program, what an engine starts has the engine's words.
    own = {process.pid for process in found}
    return [process for process in found if _parent(process) not in own]


def _parent(process: psutil.Process) -> int:
    """0 for one that is gone."""
    with suppress(psutil.Error):
        return process.ppid()
    return 0


async def test_it_ends_when_its_work_is_done(seen: Seen, tmp_path: Path) -> None:
    async with launched(seen, tmp_path, *ONE) as running:
        await running
    assert seen.story()[-1] == "WORKFLOW_COMPLETED"
    assert engines(tmp_path) == []


async def test_it_is_started_again_when_it_dies(seen: Seen, tmp_path: Path) -> None:
    async with launched(seen, tmp_path, *ONE) as running:
        await seen.until("TASK_STARTED")
        (process,) = engines(tmp_path)
        process.kill()
        await running
    assert seen.story()[-1] == "WORKFLOW_COMPLETED"


async def test_a_stop_leaves_no_process_behind(seen: Seen, tmp_path: Path) -> None:
    async with launched(seen, tmp_path):
        await seen.until("TASK_STARTED")
        family = [
            each
            for engine in engines(tmp_path)
            for each in (engine, *engine.children(recursive=True))
        ]
    assert family
    assert psutil.wait_procs(family, timeout=10)[1] == []
    assert "AGENT_OFFLINE" in {kind_of(event) for event in seen.server.log.items}


async def test_a_stop_while_it_waits_to_start_again_is_heard(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("not a folder")
    stop = asyncio.Event()
    running = asyncio.create_task(run_demo_engine("127.0.0.1:1", file, stop))
    done, _ = await asyncio.wait([running], timeout=1.5)
    assert not done
    stop.set()
    async with asyncio.timeout(30):
        await running


@pytest.mark.skipif(
    sys.platform != "linux", reason="other systems do not tell a child of its parent's death"
)
@pytest.mark.parametrize("way", [signal.SIGKILL, signal.SIGTERM])
async def test_it_goes_with_a_parent_that_is_killed(seen: Seen, tmp_path: Path, way: int) -> None:
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PARENT, seen.server.target, str(tmp_path)),
        stdin=DEVNULL,
        stderr=DEVNULL,
    )
    try:
        await seen.until("TASK_STARTED")
        family = psutil.Process(parent.pid).children(recursive=True)
        parent.send_signal(way)
        await parent.wait()
        assert family
        await wait_until(lambda: not psutil.wait_procs(family, timeout=0)[1], within=30)
    finally:
        with suppress(ProcessLookupError):
            parent.kill()
        await parent.wait()
