"""LangGraph graphs as Pilothouse sees them: runs are workflows, supersteps are stages, nodes that run are tasks.

    from pilothouse.langgraph import LangGraphRunner

    async with LangGraphRunner("127.0.0.1:50051", graph, workflow_type="research") as runner:
        outcome = await runner.run({"topic": "tides"}, thread_id="tides-1")

It runs in the graph's own process, on the public executor SDK, and asks LangGraph for nothing that its documentation
does not offer. `story` turns LangGraph's stream into events, and `retries` adds what is not in it; `runs` is one run
and what operators may do with it, `outcomes` what came of it; `threads` is what the checkpointer knows, `recall` puts
together a run that another process began, and `runner` is what people use. Needs LangGraph:

    pip install 'pilothouse[langgraph]'
"""

from __future__ import annotations

try:
    from pilothouse.langgraph.outcomes import (
        NotWaiting,
        Outcome,
        RunCancelled,
        RunnerClosed,
        RunState,
        RunUnderWay,
    )
    from pilothouse.langgraph.runner import LangGraphRunner
    from pilothouse.langgraph.runs import GraphRun
except ModuleNotFoundError as missing:
    raise ImportError(
        "pilothouse.langgraph needs LangGraph: pip install 'pilothouse[langgraph]'"
    ) from missing

__all__ = [
    "GraphRun",
    "LangGraphRunner",
    "NotWaiting",
    "Outcome",
    "RunCancelled",
    "RunState",
    "RunUnderWay",
    "RunnerClosed",
]
