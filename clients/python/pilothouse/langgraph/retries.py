"""What LangGraph's stream does not say: that a node failed and its retry policy lets it try again.

LangChain's callbacks do: each try of a node is a chain that starts and ends, known by its namespace in the graph.
"""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

from langchain_core.callbacks import AsyncCallbackHandler
from langgraph.errors import GraphBubbleUp

from pilothouse.langgraph.story import Story


class RetryWatcher(AsyncCallbackHandler):
    """Tells the story of a run which nodes are tried again, and why."""

    def __init__(self, story: Story) -> None:
        self._story = story
        self._running: dict[UUID, str] = {}
        self._paths: set[str] = set()
        self._failed: dict[str, BaseException] = {}

    async def on_chain_start(
        self,
        serialized: dict[str, Any],  # noqa: ARG002 - as LangChain calls it
        inputs: dict[str, Any],  # noqa: ARG002
        *,
        run_id: UUID,
        metadata: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """The first chain of a namespace is the node itself; those after are inside of it."""
        path = str((metadata or {}).get("langgraph_checkpoint_ns", ""))
        if path and path not in self._paths:
            self._running[run_id] = path
            self._paths.add(path)
            if (error := self._failed.pop(path, None)) is not None:
                self._story.task_retried(path, error)

    async def on_chain_end(
        self,
        outputs: dict[str, Any],  # noqa: ARG002
        *,
        run_id: UUID,
        **_: Any,
    ) -> None:
        """It has a result."""
        self._paths.discard(self._running.pop(run_id, ""))

    async def on_chain_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        """It failed; when it starts again, this is why."""
        path = self._running.pop(run_id, "")
        self._paths.discard(path)
        if path and not isinstance(error, GraphBubbleUp | asyncio.CancelledError):
            self._failed[path] = error
