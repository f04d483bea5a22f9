"""A LangGraph graph that Pilothouse watches and steers: three nodes, the second of which asks before the third acts.

python graph.py 127.0.0.1:50051 release-1
"""

import asyncio
import sys
from typing import TypedDict

from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt

from pilothouse.langgraph import LangGraphRunner, RunState


class Release(TypedDict, total=False):
    product: str
    notes: str
    approved: bool


async def draft(release: Release) -> Release:
    return {"notes": f"The new {release['product']}: the tea stays warm."}


async def review(release: Release) -> Release:
    return {"approved": interrupt(f"Publish? {release['notes']}") == "yes"}


async def publish(release: Release) -> Release:
    print("published" if release["approved"] else "kept back")
    return {}


graph = StateGraph(Release)
graph.add_node("draft", draft)
graph.add_node("review", review)
graph.add_node("publish", publish)
graph.add_edge(START, "draft")
graph.add_edge("draft", "review")
graph.add_edge("review", "publish")
graph.add_edge("publish", END)


def ask(question: str) -> str:
    return input(f"{question} ")


async def main(target: str, thread_id: str) -> None:
    async with AsyncSqliteSaver.from_conn_string("releases.db") as saver:
        compiled = graph.compile(checkpointer=saver)
        async with LangGraphRunner(target, compiled, workflow_type="release") as runner:
            await runner.recover()
            outcome = await runner.run({"product": "kettle"}, thread_id=thread_id)
            while outcome.state is RunState.WAITING:
                [question] = outcome.interrupts.values()
                answer = await asyncio.to_thread(ask, question)
                outcome = await runner.answer(thread_id, answer)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
