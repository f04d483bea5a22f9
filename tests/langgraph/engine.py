"""A process with one graph, which is killed: `python -m tests.langgraph.engine TARGET DATABASE LOG {run,recover}`.

Each node writes a line to LOG when it ends; `slow` waits for the file LOG.go.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph

from pilothouse.langgraph import LangGraphRunner
from tests.langgraph.graphs import State
from tests.support import wait_until

NODES = ("first", "second", "slow", "last")


async def main(target: str, database: str, log: Path, what: str) -> None:
    """Runs the graph, or goes on with it."""
    go = log.with_suffix(".go")

    def node(name: str) -> Any:
        async def work(_: State) -> State:
            if name == "slow":
                print("slow began", flush=True)
                await wait_until(go.exists, within=90)
            with log.open("a", encoding="utf-8") as lines:
                lines.write(f"{name}\n")
            return {"log": [name]}

        return work

    graph: Any = StateGraph(State)
    for name, before in zip(NODES, (START, *NODES), strict=False):
        graph.add_node(name, node(name))
        graph.add_edge(before, name)
    graph.add_edge(NODES[-1], END)
    async with AsyncSqliteSaver.from_conn_string(database) as saver:
        compiled = graph.compile(checkpointer=saver)
        async with LangGraphRunner(
            target, compiled, workflow_type="killed", source="killed"
        ) as runner:
            if what == "run":
                await runner.run({}, thread_id="killed")
            for run in await runner.recover():
                print((await run.wait()).values["log"], flush=True)
    print("done", flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4]))
