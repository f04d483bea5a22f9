"""A LangGraph graph beside the demo engine, run from time to time by the client's runner, so that operators steer it.

`python -m pilothouse_server.demo.langgraph_side --server HOST:PORT --data-dir FOLDER`. Checkpoints are in one file of
the folder. Each round begins with the runs that a process before this one left behind, however that ended, and ends
with the removal of checkpoints that nobody needs: a run that has not ended needs its own, and one of the newest may be
tried again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import random
import sys
import time
from collections.abc import Sequence

from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from pilothouse.aio import Client
from pilothouse.errors import CallError
from pilothouse.langgraph import LangGraphRunner
from pilothouse_server.demo.beside import command, rounds, serve
from pilothouse_server.demo.langgraph_app import glossary
from pilothouse_server.demo.library import PACKAGES

log = logging.getLogger("pilothouse.demo")

EVERY = 25.0
"""Seconds between two runs; one takes about half of it."""
PAUSE = 0.4
"""Seconds between two pieces of work."""
FILE = "langgraph.db"
TYPE = "glossary"
MOST_OPEN = 8
"""Runs that have not ended, those that somebody paused included; at this many none begins."""
KEPT_THREADS = 20
"""The newest, of which checkpoints are kept after their end."""
FAREWELL = 2.0
"""Seconds that supersteps under way have to end; what does not is run again at the next start."""


async def run(given: argparse.Namespace, stop: asyncio.Event) -> None:
    """One run after another until told to stop."""
    given.data_dir.mkdir(parents=True, exist_ok=True)
    async with (
        AsyncSqliteSaver.from_conn_string(str(given.data_dir / FILE)) as saver,
        Client(given.server) as client,
        LangGraphRunner(
            given.server,
            glossary(saver, given.pause),
            workflow_type=TYPE,
            source=given.source,
            close_timeout=FAREWELL,
        ) as runner,
    ):
        threads = Threads(saver)
        await threads.read()
        async for _ in rounds(stop, given.every):
            try:
                await runner.recover()
                unfinished = await _open(client, given.source)
            except CallError as error:
                log.warning("the server cannot be asked now: %s", error)
                continue
            if len(unfinished) < MOST_OPEN:
                package = random.choice(PACKAGES)  # noqa: S311 - any will do
                thread_id = f"{TYPE}-{package}-{time.time_ns() // 1_000_000:x}"
                threads.add(thread_id)
                await runner.start(
                    {"package": package}, thread_id=thread_id, name=f"Glossary of {package}"
                )
            await threads.keep_within(KEPT_THREADS, unfinished)


async def _open(client: Client, source: str) -> Sequence[str]:
    """Ids of runs that have not ended, which are those of their threads."""
    states = " OR ".join(f"state = {each}" for each in ("QUEUED", "RUNNING", "WAITING", "PAUSED"))
    words = f"source = {json.dumps(source)} AND ({states})"
    return [each.id async for each in client.list_workflows(filter=words, limit=10 * MOST_OPEN)]


class Threads:
    """Which threads have checkpoints, the oldest first."""

    def __init__(self, saver: AsyncSqliteSaver) -> None:
        self._saver = saver
        self.ids: list[str] = []

    async def read(self) -> None:
        """All that the file has."""
        listed = [each.config.get("configurable", {}) async for each in self._saver.alist(None)]
        self.ids = list(dict.fromkeys(each["thread_id"] for each in listed))[::-1]

    def add(self, thread_id: str) -> None:
        """One that begins."""
        self.ids.append(thread_id)

    async def keep_within(self, most: int, needed: Sequence[str]) -> None:
        """Forgets the oldest of those that nobody needs, until there are so many."""
        surplus = self.ids[: max(len(self.ids) - most, 0)]
        for thread_id in surplus:
            if thread_id not in needed:
                await self._saver.adelete_thread(thread_id)
                self.ids.remove(thread_id)


def main() -> int:
    """The command."""
    return serve(command(__doc__, source="langgraph", every=EVERY, pause=PAUSE, keeps=True), run)


if __name__ == "__main__":
    sys.exit(main())
