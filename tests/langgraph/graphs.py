"""Graphs of plain functions, with gates at which a test can hold them."""

from __future__ import annotations

import asyncio
import operator
from collections import Counter, defaultdict
from typing import Annotated, Any, TypedDict, cast

from langchain_core.messages import AIMessage, AnyMessage
from langchain_core.messages.ai import UsageMetadata
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph, add_messages
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import RetryPolicy, interrupt

Saver = BaseCheckpointSaver[Any] | None
Compiled = CompiledStateGraph[Any, Any, Any, Any]


class State(TypedDict, total=False):
    """What the nodes add to."""

    log: Annotated[list[str], operator.add]
    messages: Annotated[list[AnyMessage], add_messages]
    rounds: int


class Workshop:
    """Nodes whose calls are counted, that wait where they are told to, and fail as often as they are told to."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.held: set[str] = set()
        self.reached: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.gates: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)

    async def work(self, node: str) -> dict[str, Any]:
        """What every node does."""
        self.calls[node] += 1
        self.reached[node].set()
        if node in self.held:
            await self.gates[node].wait()
        if self.failures[node] > 0:
            self.failures[node] -= 1
            raise RuntimeError(f"{node} is broken")
        return {"log": [node]}

    def node(self, name: str) -> Any:
        """A node of that name."""

        async def run(_: State) -> dict[str, Any]:
            return await self.work(name)

        return run

    def line(self, saver: Saver, *names: str, **compiled: Any) -> Compiled:
        """Nodes one after another."""
        graph: Any = StateGraph(State)
        previous = START
        for name in names:
            graph.add_node(name, self.node(name))
            graph.add_edge(previous, name)
            previous = name
        graph.add_edge(previous, END)
        return cast("Compiled", graph.compile(checkpointer=saver, **compiled))

    def everything(self, saver: Saver) -> Compiled:
        """A fan-out, a flaky node with a retry policy, a node that a model answers, a subgraph and a loop."""

        async def write(_: State) -> dict[str, Any]:
            await self.work("write")
            usage = UsageMetadata(input_tokens=30, output_tokens=4, total_tokens=34)
            answer = AIMessage("text", id=f"m{self.calls['write']}", usage_metadata=usage)
            return {"messages": [answer]}

        async def judge(state: State) -> dict[str, Any]:
            await self.work("judge")
            return {"rounds": state.get("rounds", 0) + 1}

        def again(state: State) -> str:
            return "write" if state.get("rounds", 0) < 2 else END

        flaky = RetryPolicy(
            initial_interval=0.001, jitter=False, retry_on=RuntimeError, max_attempts=99
        )
        graph: Any = StateGraph(State)
        graph.add_node("plan", self.node("plan"))
        graph.add_node("search", self.node("search"), retry_policy=flaky)
        graph.add_node("dig", self.line(None, "shovel", "sieve"))
        graph.add_node("write", write)
        graph.add_node("judge", judge)
        graph.add_edge(START, "plan")
        graph.add_edge("plan", "search")
        graph.add_edge("plan", "dig")
        graph.add_edge(["search", "dig"], "write")
        graph.add_edge("write", "judge")
        graph.add_conditional_edges("judge", again)
        return cast("Compiled", graph.compile(checkpointer=saver))

    def asking(self, saver: Saver, *questions: str) -> Compiled:
        """Nodes side by side that each ask a question, and one after them."""

        def asks(question: str) -> Any:
            async def ask(_: State) -> dict[str, Any]:
                await self.work("ask")
                return {"log": [f"{question} {interrupt(question)}"]}

            return ask

        graph: Any = StateGraph(State)
        graph.add_node("act", self.node("act"))
        for number, question in enumerate(questions):
            graph.add_node(f"ask{number}", asks(question))
            graph.add_edge(START, f"ask{number}")
        graph.add_edge([f"ask{number}" for number in range(len(questions))], "act")
        return cast("Compiled", graph.compile(checkpointer=saver))
